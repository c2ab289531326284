"""A process of one contender: it reads a JSON object a line, and answers each with one.

    python experiments/speed/worker.py ours

{"do": "prepare", "key": ..., "group": ..., "spec": ..., "variant": ...} makes a job ready;
{"do": "time", "key": ..., "what": ..., "seconds": ...} times it for about so long;
{"do": "forget"} drops the jobs; {"do": "environment", "command": ...} says what a run is made with.
"""

import gc
import importlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from contenders import Job, NotOfferedError

MOST_LAPS = 200


def lap_seconds(run: Callable[[], Any], seconds: float) -> list[float]:
    """Returns the seconds of each of several runs, at least one, for about `seconds` in all."""
    laps: list[float] = []
    end = time.perf_counter() + seconds
    while not laps or (time.perf_counter() < end and len(laps) < MOST_LAPS):
        start = time.perf_counter()
        run()
        laps.append(time.perf_counter() - start)
    return laps


def answer(message: dict[str, Any], module: Any, jobs: dict[str, Job]) -> dict[str, Any]:
    """Does what a message asks for and returns the reply."""
    if message["do"] == "environment":
        from rnnjax.training.manifest import describe_environment

        return describe_environment(message["command"])
    if message["do"] == "forget":
        jobs.clear()
        gc.collect()
        return {}
    if message["do"] == "prepare":
        start = time.perf_counter()
        job = getattr(module, message["group"])(message["spec"], message["variant"])
        jobs[message["key"]] = job
        facts = {"prepare_seconds": round(time.perf_counter() - start, 3), **job.facts}
        return {"runs": list(job.runs), "facts": facts}
    laps = lap_seconds(jobs[message["key"]].runs[message["what"]], message["seconds"])
    return {"seconds": statistics.median(laps), "laps": len(laps)}


def main() -> None:
    """Answers until the messages end."""
    # What libraries print must not stand between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    module, jobs = None, {}
    for line in sys.stdin:
        try:
            module = module or importlib.import_module(f"contenders.{sys.argv[1]}")
            reply = answer(json.loads(line), module, jobs)
        except NotOfferedError as reason:
            reply = {"not_offered": str(reason)}
        except Exception as error:  # a contender's failure is a result, and the rest goes on
            reply = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
        answers.write(json.dumps(reply) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
