"""Process of one contender: reads a JSON object a line, and replies to each with one.

    python experiments/speed/worker.py rnnjax

{"do": "prepare", "key": ..., "group": ..., "spec": ..., "variant": ...} prepares a job;
{"do": "time", "key": ..., "operation": ..., "seconds": ...} times it for about so long;
{"do": "drop_jobs"} drops the jobs; {"do": "environment", "command": ...} describes the environment.
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

MAX_REPEATS = 200


def time_repeats(run: Callable[[], Any], seconds: float) -> list[float]:
    """Returns the seconds of repeated runs, at least one, for about `seconds` in total."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or (time.perf_counter() < end and len(times) < MAX_REPEATS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return times


def handle(request: dict[str, Any], module: Any, jobs: dict[str, Job]) -> dict[str, Any]:
    """Handles a request and returns the reply."""
    if request["do"] == "environment":
        from rnnjax.training.manifest import describe_environment

        return describe_environment(request["command"])
    if request["do"] == "drop_jobs":
        jobs.clear()
        gc.collect()
        return {}
    if request["do"] == "prepare":
        start = time.perf_counter()
        job = getattr(module, request["group"])(request["spec"], request["variant"])
        jobs[request["key"]] = job
        facts = {"prepare_seconds": round(time.perf_counter() - start, 3), **job.facts}
        return {"operations": list(job.runs), "facts": facts}
    times = time_repeats(jobs[request["key"]].runs[request["operation"]], request["seconds"])
    return {"seconds": statistics.median(times)}


def main() -> None:
    """Replies until the requests end."""
    # The output of libraries must not mix with the replies.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    module, jobs = None, {}
    for line in sys.stdin:
        try:
            module = module or importlib.import_module(f"contenders.{sys.argv[1]}")
            reply = handle(json.loads(line), module, jobs)
        except NotOfferedError as reason:
            reply = {"not_offered": str(reason)}
        except Exception as error:  # a failure of a contender is a result; the others continue
            reply = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
