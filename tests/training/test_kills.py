"""A run that is killed again and again ends as one that never was: experiments/resume in short."""

import os
import random
import signal
from pathlib import Path

from endings import ending, same
from processes import FLAGS, Moment, run

pytest_plugins = ["training.small"]


def test_a_run_that_is_killed_three_times_ends_as_one_that_never_was(news, tmp_path):
    flags = (*FLAGS, "--config.data.corpus=ag_news_subset", f"--config.data.dir={news}")
    cache = Path(os.environ["RNNJAX_CACHE"])
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    undisturbed = run(whole, cache, flags=flags)
    assert undisturbed.status == 0, undisturbed.said
    seed = int.from_bytes(os.urandom(4))
    draw = random.Random(seed)
    moments = [
        Moment("saving", draw.randint(2, 4), draw.uniform(0.0, 0.03)),
        Moment(*draw.choice([("restoring", 1), ("writing a file", 1), ("training", 3)]), 0.001),
        Moment(*draw.choice([("judging", 1), ("writing a file", 3)]), draw.uniform(0.0, 0.02)),
    ]
    for moment in moments:
        ended = run(killed, cache, moment, flags)
        assert ended.status == -signal.SIGKILL, (seed, moment, ended.said)
    ended = run(killed, cache, flags=flags)
    assert ended.status == 0, (seed, ended.said)
    parts = same(ending(killed), ending(whole))
    assert all(parts.values()), (seed, parts)
