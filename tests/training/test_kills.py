"""A run that is killed again and again ends as one that never was: experiments/resume in short."""

import os
from pathlib import Path

from endings import compare_endings, read_ending
from processes import FLAGS, Moment, run


def test_run_killed_three_times_equals_an_undisturbed_one(news, tmp_path):
    flags = (*FLAGS, "--config.data.corpus=ag_news_subset", f"--config.data.dir={news}")
    cache = Path(os.environ["RNNJAX_CACHE"])
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    undisturbed = run(whole, cache, flags=flags)
    assert undisturbed.status == 0, undisturbed.output
    moments = [Moment("saving", 3, 0.01), Moment("training", 3, 0.001), Moment("judging", 1, 0.01)]
    ended = [run(killed, cache, moment, flags) for moment in moments]
    ended.append(run(killed, cache, flags=flags))
    # The third may be over before it is killed, and the last then has nothing to go on from.
    assert ended[0].killed, ended[0]
    assert "going on from step" in ended[1].output + ended[2].output
    assert all(each.killed or each.status == 0 for each in ended), ended
    assert ended[-1].status == 0, ended[-1]
    parts = compare_endings(read_ending(killed), read_ending(whole))
    assert all(parts.values()), parts
