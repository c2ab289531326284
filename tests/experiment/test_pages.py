"""Pages show the records between their marks and nowhere else."""

from pathlib import Path

import pytest

from experiment.conftest import README, edit, record
from rnnjax.errors import InputError
from rnnjax.experiment import pages, seed_plot
from rnnjax.experiment.page_rendering import has_description
from rnnjax.experiment.plan import Experiment
from rnnjax.experiment.records import append

ABOVE = "# All\n<!-- experiments/lesson: begin -->\n<!-- experiments/lesson: end -->\nmore\n"


def read(folder, *runs):
    for run in runs:
        append(folder / "runs.jsonl", run)
    return Experiment.read(folder)


def rows_of(table):
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_table_has_mean_spread_interval_and_seeds(folder):
    experiment = read(
        folder,
        record("lstm", 5, 0.90, train_seconds=30.0),
        record("lstm", 0, 0.80, train_seconds=10.0),
        record("lstm", 1, 0.85, train_seconds=2.0, resumed_from=70),
        record("lstm", 7, 0.85, train_seconds=99.0, alone=False),
        record("gru", 0, 0.75, train_seconds=12.34),
    )
    heads, _, lstm, gru = rows_of(pages.table(experiment))
    assert heads[2:4] == ["test accuracy, mean ± sd", "95 % interval"]
    assert (heads[-2], heads[-1]) == ("training seconds, median", "peer")
    scores = ["**0.8500** ± 0.0408", "0.7850 to 0.9150", "0.8000 0.8500 0.9000 0.8500", "0.8400"]
    assert lstm == ["`lstm`", "1,281,348", *scores, "20.0", ".71"]
    assert gru == ["`gru`", "1,281,348", "**0.7500**", "", "0.7500", "0.7400", "12.3", ""]
    assert (
        "Trained on 48,000 rows and tested on 7,600 of `news`, fingerprint `ffffffffffff`. "
        "Seeds 0, 1, 5, 7 of `lstm`; 0 of `gru`."
    ) in pages.table(experiment)
    assert "with no other beside them, on Linux, 2 CPU cores.\n" in pages.table(experiment)


def test_interval_is_cut_to_the_range_of_the_score(folder):
    runs = [record("lstm", seed, score) for seed, score in enumerate((1.0, 0.52, 1.0))]
    table = pages.table(read(folder, *runs))
    _, _, lstm = rows_of(table)
    assert lstm[3] == "0.1516 to 1.0000"
    assert "the interval is of the mean, by Student's t, cut to the range of the score." in table


def test_untimed_plan_has_no_seconds(folder):
    edit(folder / "experiment.toml", "seeds =", "timed = false\nseeds =")
    table = pages.table(read(folder, record("lstm", 0, 0.5, train_seconds=77.7)))
    assert "77.7" not in table
    assert "econds" not in table
    assert "Trained on Linux, 2 CPU cores.\n" in table


def test_table_names_machines(folder):
    device = {"platform": "Linux", "cpus": 16, "devices": ["gpu:0 H200", "gpu:1 H200"]}
    experiment = read(
        folder,
        record("lstm", 0, 0.5),
        record("gru", 0, 0.5),
        record("gru", 1, 0.5, environment=device),
    )
    assert "on Linux, 2 CPU cores; Linux, 16 CPU cores, H200.\n" in pages.table(experiment)


def test_parts_are_rendered_between_their_marks(recorded):
    Path("README.md").write_text(ABOVE)
    pages.write(Experiment.read(recorded))
    page = (recorded / "README.md").read_text()
    assert page.startswith("# Question\n\n<!-- runs: begin -->\n| config |")
    assert page.endswith("![Test accuracy by seed](seeds.svg)\n<!-- runs: end -->\n\nanswer\n")
    assert "old" not in page
    readme = Path("README.md").read_text()
    assert readme.startswith("# All\n<!-- experiments/lesson: begin -->\n| config | network |")
    assert readme.endswith("Seeds 0, 1, 5.\n<!-- experiments/lesson: end -->\nmore\n")
    assert "| `lstm` | LSTM, no mask | 0.5200 ± 0.0265 | 10 s on 2 CPU cores | .71 |" in readme
    pages.write(Experiment.read(recorded))
    assert ((recorded / "README.md").read_text(), Path("README.md").read_text()) == (page, readme)


def test_summary_table_is_required_by_an_entry_with_about(recorded):
    Path("README.md").write_text("# All\n")
    with pytest.raises(InputError, match=r"README.md: expected one line <!-- experiments/lesson: "):
        pages.fill(Experiment.read(recorded))
    edit(recorded / "experiment.toml", 'about = "LSTM, no mask"\n', "")
    assert list(pages.fill(Experiment.read(recorded))) == [recorded / "README.md"]


def test_table_has_the_scores_of_the_plan(recorded):
    edit(recorded / "experiment.toml", "seeds =", 'scores = ["loss", "accuracy"]\nseeds =')
    experiment = Experiment.read(recorded)
    heads, _, (_, _, loss, _, by_seed, accuracy, *_), _ = rows_of(pages.table(experiment))
    assert heads[2] == "test loss, mean ± sd"
    assert heads[5] == "accuracy"
    assert "macro-F1" not in heads
    assert (loss, by_seed) == ("**0.5000** ± 0.0000", "0.5000 0.5000 0.5000")
    assert accuracy == "0.5200"
    assert "test loss 0.5000 ± 0.0000" in pages.sentence(experiment, experiment.plan.entry[0])
    assert "Test loss by seed: lstm 0.5000 0.5000 0.5000; gru" in seed_plot.draw(experiment)


def test_missing_score_is_named_with_its_line(recorded):
    append(recorded / "runs.jsonl", record("gru", 7, 0.5, test={"accuracy": None}))
    with pytest.raises(InputError, match=r"runs\.jsonl, line 7: the test part has no accuracy, "):
        pages.fill(Experiment.read(recorded))
    edit(recorded / "experiment.toml", "seeds =", 'scores = ["acc"]\nseeds =')
    with pytest.raises(InputError, match=r"line 1: .* no acc, .*; it has accuracy, macro_f1, loss"):
        pages.fill(Experiment.read(recorded))


def test_experiment_without_runs_has_no_plot(folder):
    pages.write(read(folder))
    assert "begin -->\nThere are no runs yet.\n<!--" in (folder / "README.md").read_text()
    assert not (folder / "seeds.svg").exists()


def test_docstring_sentence(folder):
    experiment = read(folder, record("lstm", 0, 0.80), record("lstm", 1, 0.90))
    assert pages.sentence(experiment, experiment.plan.entry[0]) == (
        "experiments/lesson, lstm: 1,281,348 parameters, 48,000 training rows, test accuracy "
        "0.8500 ± 0.0707 (mean ± sd of seeds 0, 1), trained in 10 s on 2 CPU cores."
    )


def test_docstring_sentence_of_an_untimed_plan_has_processor_time(folder):
    edit(folder / "experiment.toml", "seeds =", "timed = false\nseeds =")
    experiment = read(folder, record("lstm", 0, 0.80, cpu_seconds=25.0))
    sentence = pages.sentence(experiment, experiment.plan.entry[0])
    assert sentence.endswith("trained in 25 s of processor time on 2 CPU cores.")


def test_plot_is_reproducible_and_has_its_description(recorded):
    experiment = Experiment.read(recorded)
    plot = seed_plot.draw(experiment)
    assert "lstm 0.5000 0.5100 0.5500, claimed 0.5 to 0.6; gru 0.5000 0.5100 0.5500<" in plot
    assert plot == seed_plot.draw(experiment)
    path = recorded / "seeds.svg"
    path.write_text(plot)
    assert has_description(path, seed_plot.describe(experiment))
    edit(recorded / "experiment.toml", "[0.5, 0.6]", "[0.5, 0.7]")
    assert not has_description(path, seed_plot.describe(Experiment.read(recorded)))
    assert not has_description(path, seed_plot.describe(read(recorded, record("gru", 9, 0.6))))


@pytest.mark.parametrize("readme", ["# Question\n", README + README, README[::-1]])
def test_readme_without_marks_is_refused(folder, readme):
    (folder / "README.md").write_text(readme)
    with pytest.raises(InputError, match="expected one line <!-- runs: begin --> and one line"):
        pages.fill(Experiment.read(folder))


def test_swapped_marks_wrong_encoding_and_missing_readme_are_refused(folder):
    (folder / "README.md").write_text("<!-- runs: end -->\n<!-- runs: begin -->\n")
    with pytest.raises(InputError, match="end --> stands before the line"):
        pages.fill(Experiment.read(folder))
    (folder / "README.md").write_bytes(README.encode("utf-16"))
    with pytest.raises(InputError, match=r"README\.md: is not UTF-8 .* at byte 1\)"):
        pages.fill(Experiment.read(folder))
    (folder / "README.md").unlink()
    with pytest.raises(InputError, match=r"README\.md: cannot be read"):
        pages.fill(Experiment.read(folder))
