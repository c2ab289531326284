"""Pages, configs and claims of this repository agree with its records."""

import json
import math
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rnnjax.config.catalog import read_docstring
from rnnjax.errors import InputError
from rnnjax.experiment import page_rendering, pages, prose_numbers
from rnnjax.experiment.claims import PASS, check_seal
from rnnjax.experiment.plan import Experiment
from rnnjax.experiment.verification import (
    VerificationResult,
    check_pages,
    check_prose,
    check_repository,
)
from rnnjax.reporting import markdown, metrics_log, record_digest
from rnnjax.reporting.statistics import prediction_interval

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = sorted(path.parent.relative_to(ROOT) for path in ROOT.glob("experiments/*/README.md"))
PLANNED = [folder for folder in FOLDERS if (ROOT / folder / "experiment.toml").exists()]
EDITS = 40
"""Digits of a page that are changed, one at a time, in its rendered parts and in its prose."""


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A copy of the files that the check reads."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("configs", "experiments"):
        shutil.copytree(ROOT / name, folder / name)
    for page in (ROOT / "README.md", *ROOT.glob("rnnjax/*/README.md")):
        if page.parent.is_symlink():  # rnnjax/configs, whose page is that of configs
            continue
        copy = folder / page.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(page, copy)
    return folder


@pytest.fixture
def working_directory(clone, monkeypatch):
    """The copy as the working directory.

    It has a folder `rnnjax` with pages alone, which an editable install would take for a namespace
    package: the path of the package comes first for processes as well.
    """
    monkeypatch.chdir(clone)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return clone


@pytest.fixture(scope="module")
def rendered(clone):
    """Rendered parts by folder, without loading configs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(clone)
        results = {}
        for folder in FOLDERS:
            parts, sentences = page_rendering.render_by_script(folder), {}
            if folder in PLANNED:
                experiment = Experiment.read(folder)
                parts |= pages.parts(experiment)
                sentences = pages.sentences(experiment)
            results[folder] = VerificationResult([], parts, sentences)
        return results


def test_every_claim_and_page_passes(working_directory):
    process = subprocess.run(
        [sys.executable, "-m", "rnnjax.experiment", "--check"], capture_output=True, text=True
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert re.findall("^experiments/.*", process.stdout, re.MULTILINE) == list(map(str, FOLDERS))
    assert process.stdout.endswith(" 0 FAIL, 0 INCOMPARABLE, 0 UNCHECKED\n")


def digits_of(text, parts):
    """Returns the positions of digits in the rendered parts of a page and in its prose."""
    spans = [
        match.span()
        for name in parts
        for match in re.finditer(
            rf"<!-- {re.escape(name)}: begin -->(.*?)<!-- {re.escape(name)}: end -->", text, re.S
        )
    ]
    code = [
        match.span()
        for pattern in (r"^```.*?^```", r"`[^`]*`", r"\]\([^)]*\)", r"<!-- .*? -->")
        for match in re.finditer(pattern, text, re.S | re.M)
    ]

    def within(place, spans):
        return any(start <= place < end for start, end in spans)

    places = [match.start() for match in re.finditer(r"(?<![A-Za-z_])\d", text)]
    inside = [place for place in places if within(place, spans)]
    outside = [place for place in places if not within(place, spans) and not within(place, code)]
    return inside, [place for place in outside if not re.search(r"[A-Za-z]\d*$", text[:place])]


def changed(text, place):
    """Returns a text with another digit."""
    return text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :]


@pytest.mark.parametrize(
    "page", [Path("README.md"), *(folder / "README.md" for folder in FOLDERS)], ids=str
)
def test_edited_digit_of_a_page_is_found(page, working_directory, rendered):
    phrases, text = prose_numbers.read_phrases(), markdown.read(page)
    is_root = page == Path("README.md")
    folders = FOLDERS if is_root else [page.parent]
    results = [rendered[folder] for folder in folders]
    parts = [name for result in results for name in result.parts]

    def fails():
        if is_root:
            prose = [r for r in check_repository(results, phrases) if r.subject == "README.md"]
        else:
            text = prose_numbers.blank_parts(markdown.read(page), parts)
            prose = [check_prose(page, text, phrases)]
        pages = [r for folder in folders for r in check_pages(folder, rendered[folder].parts)]
        return any(result.verdict != PASS for result in [*prose, *pages])

    assert not fails()
    draw = random.Random(page.as_posix())
    inside, outside = digits_of(text, parts)
    assert inside or is_root
    try:
        for places in (inside, outside):
            for place in draw.sample(places, min(EDITS, len(places))):
                page.write_text(changed(text, place), encoding="utf-8")
                assert fails(), text[max(0, place - 40) : place + 20]
    finally:
        page.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("config", sorted(ROOT.glob("configs/*.py")), ids=lambda path: path.name)
def test_edited_digit_of_a_docstring_is_found(config, rendered, working_directory):
    phrases, config = prose_numbers.read_phrases(), Path("configs", config.name)
    sentences = [text for result in rendered.values() for text in result.sentences.get(config, [])]

    def fails():
        docstring = read_docstring(config)
        text = prose_numbers.blank_sentences(docstring, sentences)
        return check_prose(config, text, phrases).verdict != PASS

    assert not fails()
    text = config.read_text(encoding="utf-8")
    end = text.index('"""', 5)
    commands = [match.span() for match in re.finditer(r"^( {4}|python ).*$", text, re.M)]
    _, outside = digits_of(text, [])
    try:
        for place in outside:
            if place < end and not any(first <= place < last for first, last in commands):
                config.write_text(changed(text, place), encoding="utf-8")
                assert fails(), text[max(0, place - 40) : place + 20]
    finally:
        config.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("record", sorted(ROOT.glob("experiments/*/*.jsonl")), ids=str)
def test_edited_digit_of_a_record_is_found(record, tmp_path):
    lines = record.read_text(encoding="utf-8").splitlines()
    draw = random.Random(record.name)
    copy = tmp_path / "record.jsonl"
    for line in draw.sample(lines, min(60, len(lines))):
        place = draw.choice([match.start() for match in re.finditer(r"\d", line)])
        copy.write_text(f"{changed(line, place)}\n", encoding="utf-8")
        try:
            (edited,) = metrics_log.read(copy)
        except InputError:
            continue  # it is no JSON any more, 01 say
        if edited == json.loads(line):
            continue  # a digit of a float beyond its precision
        assert not record_digest.has_valid_digest(edited), line[max(0, place - 40) : place + 20]
        assert record_digest.has_valid_digest(json.loads(line))


@pytest.mark.parametrize("folder", PLANNED, ids=str)
def test_edited_end_of_a_claim_is_found(folder, working_directory):
    path = folder / "experiment.toml"
    text = path.read_text(encoding="utf-8")
    claims = [match.span() for match in re.finditer(r"^claims = .*$", text, re.M)]
    try:
        for place in (match.start() for match in re.finditer(r"(?<![\w.])\d|(?<=\.)\d\d?", text)):
            if any(first <= place < last for first, last in claims):
                path.write_text(changed(text, place), encoding="utf-8")
                try:
                    edited = Experiment.read(folder)
                except InputError:
                    continue  # the lower end is above the upper one
                verdicts = [
                    result.verdict
                    for entry in edited.plan.entry
                    for result in check_seal(edited, entry)
                ]
                assert verdicts.count(PASS) == len(claims) - 1, text[place - 40 : place + 10]
    finally:
        path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("name", ["lesson", "best"])
def test_claims_are_prediction_intervals(name):
    experiment = Experiment.read(ROOT / "experiments" / name)
    for entry in experiment.plan.entry:
        values = [run["test"]["accuracy"] for run in experiment.runs_of(entry)]
        expected = prediction_interval(values, len(experiment.plan.seeds), "accuracy")
        outward = math.floor(100 * expected.low) / 100, math.ceil(100 * expected.high) / 100
        assert entry.claims == {"test.accuracy": pytest.approx(outward)}
