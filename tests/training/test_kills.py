"""A run that is killed again and again ends as one that never was: experiments/resume in short."""

import os
import random
from pathlib import Path

from endings import compare_endings, read_ending
from processes import FLAGS, Moment, run


def test_a_run_that_is_killed_three_times_ends_as_one_that_never_was(news, tmp_path):
    flags = (*FLAGS, "--config.data.corpus=ag_news_subset", f"--config.data.dir={news}")
    cache = Path(os.environ["RNNJAX_CACHE"])
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    undisturbed = run(whole, cache, flags=flags)
    assert undisturbed.status == 0, undisturbed.output
    seed = int.from_bytes(os.urandom(4))
    draw = random.Random(seed)
    moments = [
        Moment("saving", draw.randint(2, 4), draw.uniform(0.0, 0.03)),
        Moment(*draw.choice([("restoring", 1), ("writing a file", 1), ("training", 3)]), 0.001),
        Moment(*draw.choice([("judging", 1), ("writing a file", 3)]), draw.uniform(0.0, 0.02)),
    ]
    ended = [run(killed, cache, moment, flags) for moment in moments]
    ended.append(run(killed, cache, flags=flags))
    # The third may be over before it is killed, and the last then has nothing to go on from.
    assert ended[0].killed, (seed, ended[0])
    assert "going on from step" in ended[1].output + ended[2].output, seed
    assert all(each.killed or each.status == 0 for each in ended), (seed, ended)
    assert ended[-1].status == 0, (seed, ended[-1])
    parts = compare_endings(read_ending(killed), read_ending(whole))
    assert all(parts.values()), (seed, parts)
