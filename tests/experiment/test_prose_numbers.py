"""Numbers in prose are rendered from records or listed in typed.toml; any other is reported."""

from pathlib import Path

import pytest

from experiment.conftest import edit, lines_of, record
from rnnjax.errors import InputError
from rnnjax.experiment import page_rendering, pages, prose_numbers
from rnnjax.experiment.claims import FAIL, PASS, UNCHECKED
from rnnjax.experiment.pages import fill_sentences
from rnnjax.experiment.plan import Experiment
from rnnjax.experiment.records import append, read_verified, write_records
from rnnjax.experiment.verification import check_folder, check_prose, check_repository

PAGE = """Of 7,600 rows, see [the 3rd](a/5.md), `--x=7` and float32:

```sh
seq 9
```

.05 of 95 %
"""


@pytest.mark.parametrize(
    ("phrases", "problems"),
    [
        (["7,600 rows", "95 %", ".05"], ["3rd at line 1"]),
        (["7,600 rows", "the 3rd", ".05 of 95 %"], []),
        (["7,600 rows", "the 3rd", ".05"], ["95 at line 7"]),
        (["600 rows", "the 3rd", ".05 of 95 %"], ["'600 rows' is listed", "7,600 at line 1"]),
        (["7,600 rows", "the 3rd", "5 of 95 %"], ["'5 of 95 %' is listed", ".05 at", "95 at"]),
        (["7,600 rows", "the 3rd", ".05 of 95 %", "8 layers"], ["'8 layers' is listed"]),
    ],
)
def test_unlisted_numbers_and_missing_phrases_are_reported(phrases, problems):
    actual = prose_numbers.find_problems(PAGE, phrases)
    pairs = zip(actual, problems, strict=True)
    assert all(text.startswith(start) for text, start in pairs), actual


def test_phrase_matches_across_line_breaks():
    assert (
        prose_numbers.find_problems("tested on all 7,600\nofficial rows", ["7,600 official rows"])
        == []
    )


def test_page_without_phrases_is_unchecked_and_with_phrases_fails():
    page = Path("a.md")
    assert check_prose(page, "ten rows", {}).verdict == PASS
    result = check_prose(page, "10 rows", {})
    assert (result.verdict, result.subject) == (UNCHECKED, "a.md")
    assert "10 at line 1" in result.message
    assert check_prose(page, "10 rows", {"a.md": []}).verdict == FAIL
    assert check_prose(page, "10 rows", {"a.md": ["10 rows"]}).verdict == PASS


def test_parts_without_a_renderer_are_prose():
    rendered, typed = (
        f"<!-- {name}: begin -->\n0.{number}\n<!-- {name}: end -->\n"
        for name, number in (("runs", 5), ("mine", 6))
    )
    text = rendered + typed
    assert prose_numbers.find_problems(prose_numbers.blank_parts(text, ["runs"]), []) == [
        "0.6 at line 5"
    ]


def test_readme_and_configs_are_checked(recorded):
    Path("README.md").write_text("In 3 minutes.\n")
    edit(recorded / "experiment.toml", 'about = "LSTM, no mask"\n', "")
    pages.write(Experiment.read(recorded))
    sentence = pages.sentence(Experiment.read(recorded), Experiment.read(recorded).plan.entry[0])
    edit(Path("configs/lstm.py"), "A network.", f"A network.\n\n{sentence} At 1e-3.\n")
    folder = check_folder(recorded, {})
    phrases = {"README.md": ["In 3 minutes"], "configs/lstm.py": ["At 1e-3"]}
    assert {result.verdict for result in check_repository([folder], phrases)} == {PASS}
    edit(Path("README.md"), "3", "4")
    edit(Path("configs/lstm.py"), "0.5200", "0.5300")
    results = check_repository([folder], {**phrases, "configs/lost.py": ["7 rows"]})
    assert [(result.verdict, result.subject) for result in results if result.verdict != PASS] == [
        (FAIL, "README.md"),
        (FAIL, "configs/lstm.py"),
        (FAIL, "experiments/typed.toml"),
    ]
    assert UNCHECKED in {result.verdict for result in check_repository([folder], {})}


@pytest.mark.parametrize("text", ["a = [", 'a = "b"', "a = [1]", "[a]\nb = 1"])
def test_damaged_phrases_are_refused(folder, text):
    assert prose_numbers.read_phrases() == {}
    prose_numbers.TYPED.write_text(text)
    with pytest.raises(InputError, match=r"experiments/typed.toml: "):
        prose_numbers.read_phrases()


def sentence(folder, template):
    """Fills a sentence of experiment.toml."""
    edit(folder / "experiment.toml", "seeds =", f"sentences.cost = {template!r}\nseeds =")
    return fill_sentences(Experiment.read(folder))["cost"]


def test_sentence_is_filled_with_values_of_the_runs(recorded):
    for seed, seconds in ((7, 90.0), (8, 150.0)):
        append(recorded / "runs.jsonl", record("gru", seed, 0.5, cpu_seconds=seconds))
    for run in (lines := read_verified(recorded / "runs.jsonl")):
        run.setdefault("cpu_seconds", 30.0)
    write_records(recorded / "runs.jsonl", lines)
    assert (
        sentence(
            recorded,
            "Took {gru.cpu_seconds.min:.0f} to {gru.cpu_seconds.max/60:.1f}, "
            "{gru.parameters.mean:,.0f} parameters, {lstm.test.accuracy.each:.3f}.",
        )
        == "Took 30 to 2.5, 1,281,348 parameters, 0.500 0.510 0.550."
    )


@pytest.mark.parametrize(
    "value",
    ["{gru.seconds.max}", "{grus.test.accuracy.max}", "{gru.test.loss.least}", "{gru.seed.max:q}"],
)
def test_sentence_with_an_invalid_value_is_refused(recorded, value):
    with pytest.raises(InputError, match=r"experiment.toml: \{"):
        sentence(recorded, value)


def test_sentence_without_runs_has_a_question_mark(folder):
    assert sentence(folder, "In {gru.cpu_seconds.max} seconds.") == "In ? seconds."


def test_edited_sentence_fails(recorded):
    edit(
        recorded / "experiment.toml",
        "seeds =",
        'sentences.cost = "{gru.parameters.max:,.0f}"\nseeds =',
    )
    with (recorded / "README.md").open("a") as file:
        file.write("<!-- cost: begin -->\n<!-- cost: end -->\n")
    pages.write(Experiment.read(recorded))
    assert {result.verdict for result in check_folder(recorded, {}).results} == {PASS}
    text = (recorded / "README.md").read_text()
    (recorded / "README.md").write_text(text.replace("\n1,281,348\n", "\n1,281,347\n"))
    (failure,) = (result for result in check_folder(recorded, {}).results if result.verdict == FAIL)
    assert failure.subject == "experiments/lesson/README.md"


SCRIPT = """
import beside
from rnnjax.experiment.records import read_verified

def render(folder):
    (line,) = read_verified(folder / "rates.jsonl")
    return {"rates": f"{line['rate']} {beside.UNIT}", "rate.svg": f"rate {line['rate']}"}
"""


@pytest.fixture
def scripted(tmp_path, monkeypatch):
    """Folder of an experiment with a record and a script that renders it."""
    monkeypatch.chdir(tmp_path)
    folder = Path("experiments", "rates")
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("# Rates\n<!-- rates: begin -->\n<!-- rates: end -->\n")
    write_records(folder / "rates.jsonl", [{"rate": 0.25}])
    (folder / "render.py").write_text(SCRIPT)
    (folder / "beside.py").write_text("UNIT = 'per cent'\n")
    (folder / "rate.svg").write_text("<svg>rate 0.25</svg>")
    page_rendering.write_pages(folder, page_rendering.render_by_script(folder))
    return folder


@pytest.mark.parametrize(
    ("file", "old", "new", "subject"),
    [
        ("README.md", "0.25", "0.24", "README.md"),
        ("rates.jsonl", "0.25", "0.24", "rates.jsonl, line 1"),
        ("rate.svg", "0.25", "0.24", "rate.svg"),
        ("README.md", "# Rates", "# 12 rates", "README.md"),
    ],
)
def test_parts_of_a_script_are_checked(scripted, file, old, new, subject):
    assert "0.25 per cent" in (scripted / "README.md").read_text()
    assert {result.verdict for result in check_folder(scripted, {}).results} == {PASS}
    edit(scripted / file, old, new)
    (result,) = (result for result in check_folder(scripted, {}).results if result.verdict != PASS)
    assert result.subject == f"{scripted}/{subject}"
    assert result.verdict == (UNCHECKED if "12" in new else FAIL)


def test_failing_script_is_named(scripted):
    (scripted / "render.py").write_text("def render(folder):\n    return {}['rates']\n")
    with pytest.raises(InputError, match=r"rates/render.py: cannot render: KeyError: 'rates'"):
        check_folder(scripted, {})


def test_records_round_trip(tmp_path):
    path = tmp_path / "rates.jsonl"
    write_records(path, [{"a": 1.5}, {"b": [1, "ä"]}])
    assert read_verified(path) == [{"a": 1.5}, {"b": [1, "ä"]}]
    assert all(line["digest"] for line in lines_of(path))
    assert read_verified(tmp_path / "none.jsonl") == []
