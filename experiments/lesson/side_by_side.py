"""The lesson's four networks in Keras and here, timed in turns on one machine.

    python experiments/lesson/side_by_side.py KERAS_PYTHON ../shared/data/ag_news_csv [ROUNDS]

KERAS_PYTHON is the interpreter of an environment with the extra `peers`; this script runs in ours.
A round trains each network in Keras on TensorFlow, then by our command with nothing compiled, then
by the same command once more. Appends a JSON object a run to side_by_side.jsonl: seconds of the
training alone, seconds of the whole command, and seconds from its start to the first line of
metrics.jsonl, which is that of step 100.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NETWORKS = ("simple_rnn", "masked_rnn", "lstm", "bilstm")
HERE = Path(__file__).parent


def keras(python: str, data: str, name: str) -> dict:
    """Returns what keras_peer.py prints, and the seconds of the whole command."""
    start = time.monotonic()
    command = [python, str(HERE / "keras_peer.py"), data, name]
    ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    seconds = time.monotonic() - start
    figures = json.loads(ended.stdout.splitlines()[-1])
    return {"by": "keras", **figures, "command_seconds": round(seconds, 1)}


def ours(data: str, name: str, compiled: Path, workdir: Path) -> dict:
    """Returns the figures of our command; `compiled` is where compiled programs are kept."""
    start = time.monotonic()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "rnnjax.main", f"--config=configs/{name}.py"),
            *(f"--config.data.dir={data}", "--config.data.fallback=", f"--workdir={workdir}"),
        ],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "JAX_COMPILATION_CACHE_DIR": str(compiled)},
    )
    metrics, first = workdir / "metrics.jsonl", 0.0
    while process.poll() is None:
        if not first and metrics.exists() and metrics.stat().st_size:
            first = time.monotonic() - start
        time.sleep(0.02 if not first else 0.2)
    seconds = time.monotonic() - start
    result = json.loads((workdir / "result.json").read_text(encoding="utf-8"))
    return {
        "by": "rnnjax",
        "name": name,
        "parameters": result["parameters"],
        "test_accuracy": round(result["test"]["accuracy"], 4),
        "train_seconds": round(result["train_seconds"], 1),
        "hundredth_step_after": round(first, 1),
        "command_seconds": round(seconds, 1),
    }


def main() -> None:
    """Times the rounds."""
    python, data, *rounds = sys.argv[1:]
    with (HERE / "side_by_side.jsonl").open("a", encoding="utf-8") as file:
        for _ in range(int(rounds[0]) if rounds else 1):
            for name in NETWORKS:
                figures = [keras(python, data, name)]
                with tempfile.TemporaryDirectory() as folder:
                    for cache in ("cold", "warm"):
                        run = ours(data, name, Path(folder, "cache"), Path(folder, cache))
                        figures.append({**run, "cache": cache})
                for each in figures:
                    print(json.dumps(each), flush=True)
                    file.write(json.dumps(each) + "\n")


if __name__ == "__main__":
    main()
