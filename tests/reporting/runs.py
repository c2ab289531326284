"""A synthetic folder of a finished run, with known numbers."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from rnnjax import config as schema
from rnnjax.reporting import record_digest
from rnnjax.tasks import report_page
from rnnjax.tasks.registry import find_task

TEXT = (
    "Oil prices fell below fifty dollars a barrel on Tuesday after the ministry said that stocks "
    "had grown for the sixth week in a row and that demand from refiners would stay weak"
)


def confusion(classes: int, rows: int = 1_900) -> list[list[int]]:
    """Returns a confusion matrix with more errors between neighbouring classes."""
    matrix = []
    for label in range(classes):
        counts = [
            0
            if label == predicted
            else int(rows * 0.16 / (1 + abs(label - predicted)) ** 2)
            + (7 * label + 3 * predicted) % 5
            for predicted in range(classes)
        ]
        counts[label] = rows - sum(counts)
        matrix.append(counts)
    return matrix


def result(classes: list[str], matrix: list[list[int]]) -> dict[str, Any]:
    """Returns the values of result.json, with scores computed from the matrix."""
    total = sum(map(sum, matrix))
    per_class = []
    for index, name in enumerate(classes):
        rows, predictions = sum(matrix[index]), sum(row[index] for row in matrix)
        precision = matrix[index][index] / predictions if predictions else 0.0
        recall = matrix[index][index] / rows if rows else 0.0
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        per_class.append(
            {"name": name, "precision": precision, "recall": recall, "f1": f1, "rows": rows}
        )
    test = {
        "loss": 0.2871,
        "accuracy": sum(row[index] for index, row in enumerate(matrix)) / total,
        "macro_f1": sum(scores["f1"] for scores in per_class) / len(per_class),
        "rows": total,
    }
    lengths = [(1, 20, 0.871), (21, 30, 0.902), (31, 40, 0.913), (41, 60, 0.907), (61, 178, 0.842)]
    return {
        "name": "bilstm",
        "task": "classification",
        "test": test,
        "validation": {"loss": 0.2764, "accuracy": 0.9083, "macro_f1": 0.907, "rows": 2_569},
        "steps": 3_051,
        "epochs": 1.0,
        "train_seconds": 191.4,
        "rows_per_second": 255.1,
        "compilations": {"train": 6, "evaluate": 6},
        "buckets": [16, 32, 48, 64, 96, 178],
        "stopped_early": False,
        "parameters": 2_758_148,
        "data": {},
        "model": [
            {
                "layer": "embedding",
                "type": "Embed",
                "output": "float32[16, 48, 128]",
                "parameters": 2_560_000,
            },
            {
                "layer": "layers_0",
                "type": "Bidirectional(LSTMCell)",
                "output": "float32[16, 48, 128]",
                "parameters": 98_816,
            },
            {
                "layer": "layers_1",
                "type": "Bidirectional(LSTMCell)",
                "output": "float32[16, 128]",
                "parameters": 98_816,
            },
            {
                "layer": "head",
                "type": "Dense",
                "output": f"float32[16, {len(classes)}]",
                "parameters": 516,
            },
        ],
        "confusion": matrix,
        "per_class": per_class,
        "accuracy_by_length": [
            {"from": low, "to": high, "rows": total // (7 - index), "accuracy": accuracy}
            for index, (low, high, accuracy) in enumerate(lengths)
        ],
        "worst_mistakes": [
            {
                "text": " ".join(TEXT.split()[number % 7 :][: 9 + 3 * number]),
                "label": classes[number % len(classes)],
                "predicted": classes[(number + 1) % len(classes)],
                "probability": 0.9991 - 0.004 * number,
                "probability_of_label": 0.0003 + 0.002 * number,
            }
            for number in range(8)
        ],
    }


def metrics(steps: int = 3_051, every: int = 25) -> list[dict[str, Any]]:
    """Returns the lines of metrics.jsonl: a falling loss with ripples, and validation."""
    lines: list[dict[str, Any]] = []
    for step in range(every, steps + 1, every):
        ripple = 0.05 * math.sin(step * 1.7) + 0.03 * math.sin(step * 0.31)
        loss = 0.27 + 1.1 * math.exp(-step / 350) + ripple
        lines.append(
            {
                "step": step,
                "epoch": step / steps,
                "split": "train",
                "loss": loss,
                "accuracy": 0.92 - 0.62 * math.exp(-step / 350) - ripple / 2,
                "learning_rate": 1e-3,
            }
        )
        if step % (20 * every) == 0:
            lines.append(
                {
                    "step": step,
                    "epoch": step / steps,
                    "split": "validation",
                    "loss": loss + 0.04,
                    "accuracy": 0.905 - 0.6 * math.exp(-step / 350),
                    "macro_f1": 0.9,
                }
            )
    lines.append(
        {
            "step": steps,
            "epoch": 1.0,
            "split": "test",
            "loss": 0.2871,
            "accuracy": 0.9024,
            "macro_f1": 0.9,
        }
    )
    return lines


def data(classes: list[str], fallback: str = "") -> dict[str, Any]:
    """Returns the summary of the data in environment.json and result.json."""
    return {
        "name": fallback or "ag_news_csv",
        "source": "data/ag_news",
        "fallback": fallback,
        "fingerprint": "sha256:5f0a1c77e3b94d1f",
        "classes": classes,
        "rows": {"train": 48_809, "validation": 0, "test": 7_600},
        "vocabulary": 6_543,
        "unknown_share": 0.21,
    }


def write(
    folder: Path,
    classes: list[str] | None = None,
    fallback: str = "",
    matrix: list[list[int]] | None = None,
    lines: list[dict[str, Any]] | None = None,
    **changes: Any,
) -> Path:
    """Writes the folder of a finished run; `changes` replace keys of result.json."""
    classes = classes or ["World", "Sports", "Business", "Sci/Tech"]
    summary = data(classes, fallback)
    mark = {"data": f"{fallback} (fallback)"} if fallback else {}
    environment = {
        "started": "2025-03-04T09:15:02+00:00",
        "rnnjax": "0.2.0",
        "commit": "409e438aa1",
        "dirty": True,
        "python": "3.11.9",
        "platform": "Linux-6.1-x86_64",
        "packages": {"jax": "0.10.2", "flax": "0.12.0", "optax": "0.2.6"},
        "devices": ["cpu:0"],
        "xla_flags": "",
        "command": "python -m rnnjax.main --config configs/bilstm.py",
        "data": summary,
    }
    results = result(classes, matrix or confusion(len(classes))) | {"data": summary} | changes
    lines = metrics() if lines is None else lines
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "checkpoints").mkdir(exist_ok=True)
    config = {"name": "bilstm", "config": schema.defaults()} | mark
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "environment.json").write_text(json.dumps(environment))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line | mark) + "\n" for line in lines))
    (folder / "result.json").write_text(json.dumps(results))
    return reseal(folder)


def reseal(folder: Path) -> Path:
    """Computes the digests of edited files again, as if a run had written them."""

    def digests(*names: str) -> dict[str, str]:
        paths = [folder / name for name in names if (folder / name).exists()]
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}

    for name, files in {
        "environment.json": digests("config.json", "tokenizer.json"),
        "result.json": digests("metrics.jsonl"),
    }.items():
        if (folder / name).exists():
            values = {"run": "0123", **json.loads((folder / name).read_text()), "files": files}
            (folder / name).write_text(json.dumps(record_digest.with_digest(values)))
    return folder


def write_report(folder: Path) -> Path:
    """Writes the report of a folder, and returns its path."""
    try:
        task = json.loads((folder / "result.json").read_text()).get("task", "classification")
    except (OSError, ValueError, AttributeError):
        task = "classification"
    return report_page.write_report(find_task(task), folder)
