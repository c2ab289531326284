"""The report shows the files of a run, escaped, complete and self-contained."""

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from rnnjax.errors import InputError
from rnnjax.reporting.run_report import wilson

from . import runs

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """Parsed page: text by section, table rows, tags and attributes."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags, self.attributes, self.open = [], [], []
        self.section, self.sections, self.rows = "header", {"header": ""}, []
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)
        if tag == "section":
            self.section = str(dict(attrs)["id"])
            self.sections[self.section] = ""
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in ("b", "small", "text"):
            self.sections[self.section] += " "

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.sections[self.section] += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def text(self, section):
        return " ".join(self.sections[section].split())

    def row(self, name):
        """Returns the cells of all table rows with this header."""
        rows = [[" ".join(cell.split()) for cell in row] for row in self.rows]
        return [row[1:] for row in rows if row and row[0] == name]


def page(folder, **options):
    return Page(runs.write_report(runs.write(folder, **options)))


def test_report_shows_the_files(tmp_path):
    report = page(tmp_path / "run")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    correct = sum(result["confusion"][index][index] for index in range(4))
    header = report.text("header")
    assert f"{100 * correct / 7600:.2f} % of 7,600 test texts" in header
    assert "always predicting World would reach 25.00 %" in header
    assert "95 % interval 90.72 % to 91.98 %" in header
    for fact in (
        "test loss, nats per text 0.287",
        "validation accuracy 90.83 %",
        "parameters 2,758,148",
        "training time 3 min 11 s",
        "training steps 3,051",
        "data ag_news_csv",
    ):
        assert fact in header
    assert "2025-03-04 09:15" in header

    confusion, classes = report.row("Sports")
    matrix = result["confusion"][1]
    assert confusion == [f"{n:,}{100 * n / 1900:.1f} %" for n in matrix]
    scores = result["per_class"][1]
    assert classes[:4] == [
        "1,900",
        *(f"{scores[key]:.3f}" for key in ("precision", "recall", "f1")),
    ]
    assert report.row("1\N{EN DASH}20") == [["1,085", "87.1 %", ""]]
    assert report.row("layers_1") == [["Bidirectional(LSTMCell)", "float32[16, 128]", "98,816"]]
    assert report.row("total") == [["", "", "2,758,148"]]
    assert "Business predicted as Sci/Tech 79, 4.2 % of its rows" in report.text("confusion")
    first = result["worst_mistakes"][0]
    assert f"{first['text']} Sports 99.9 % instead of World 0.0 %" in report.text("mistakes")
    assert report.tags.count("blockquote") == len(result["worst_mistakes"])


def test_report_shows_all_keys_of_config_and_environment(tmp_path):
    report = page(tmp_path)
    config = report.text("config")
    for pair in (
        "model.cell LSTMCell",
        "data.vocabulary.size 20000",
        "optimizer.name keras_adam",
        "data.dir ''",
        "early_stopping.patience 0",
    ):
        assert pair in config
    environment = report.text("environment")
    for pair in (
        "packages.jax 0.10.2",
        "devices cpu:0",
        "commit 409e438aa1",
        "dirty True",
        "data.fingerprint sha256:5f0a1c77e3b94d1f",
        "data.rows.train 48809",
        "data.unknown_share 0.21",
        "data.classes World, Sports, Business, Sci/Tech",
    ):
        assert pair in environment


@pytest.mark.parametrize("fallback", ["", "docstrings"])
def test_report_is_self_contained(tmp_path, fallback):
    report = page(tmp_path, fallback=fallback)
    assert not {"script", "link", "img", "iframe", "object"} & set(report.tags)
    assert "//" not in re.sub(r"/\*.*?\*/", "", report.source)
    assert "@import" not in report.source
    for name, value in report.attributes:
        assert not name.startswith("on")
        if name in ("href", "src", "xlink:href"):
            assert value.startswith("#")
    assert all(
        not url.strip("'\"").startswith(("http", "/", "data"))
        for url in re.findall(r"url\(([^)]*)\)", report.source)
    )
    assert report.tags.count("svg") == 2


def test_colours_of_plots_are_defined_for_light_and_dark(tmp_path):
    source = page(tmp_path).source
    used = set(re.findall(r"var\((--[a-z-]+)\)", source)) - {"--share", "--at", "--heat"}
    light, dark = source.split("prefers-color-scheme: dark")
    assert used <= set(re.findall(r"(--[a-z-]+):", light))
    assert {"--paper", "--ink", "--train", "--validation", "--test"} <= set(
        re.findall(r"(--[a-z-]+):", dark)
    )


@pytest.mark.parametrize("name", ["config.json", "environment.json", "result.json"])
def test_fallback_in_any_file_has_a_banner(tmp_path, name):
    runs.write(tmp_path)
    path = tmp_path / name
    values = json.loads(path.read_text())
    if name == "config.json":
        values["data"] = "docstrings (fallback)"
    else:
        values["data"]["fallback"] = "docstrings"
    path.write_text(json.dumps(values))
    report = Page(runs.write_report(runs.reseal(tmp_path)))
    assert ("role", "alert") in report.attributes
    assert "configured corpus, ag_news_subset, was not available" in report.text("header")
    assert "evaluated on docstrings" in report.text("header")
    assert "fallback data</title>" in report.source


def test_no_banner_without_fallback(tmp_path):
    report = page(tmp_path)
    assert ("role", "alert") not in report.attributes
    assert "allback data" not in report.source


def test_values_from_a_run_are_escaped(tmp_path):
    attack = "<script>alert('x')</script> & <b onclick=\"y\">"
    report = page(
        tmp_path / "a <i>run",
        classes=["<u>one</u>", 'two" onload="z', "three"],
        worst_mistakes=[
            {
                "text": attack,
                "label": "<u>one</u>",
                "predicted": "three",
                "probability": 0.9,
                "probability_of_label": 0.1,
            }
        ],
    )
    assert not {"script", "u", "onclick", "onload"} & {*report.tags, *dict(report.attributes)}
    assert report.tags.count("i") == page(tmp_path / "other", classes=["1", "2", "3"]).tags.count(
        "i"
    )
    assert " ".join(attack.split()) in report.text("mistakes")
    assert "<u>one</u>" in report.text("classes")


def test_long_and_empty_texts(tmp_path):
    texts = ["word " * 5_000, "x" * 20_000, " \n " * 900, ""]
    report = page(
        tmp_path,
        worst_mistakes=[{"text": text, "label": "World", "predicted": "Sports"} for text in texts],
    )
    mistakes = report.text("mistakes")
    assert len(mistakes) < 2_000
    assert mistakes.count("…") == 2
    assert mistakes.count("(nothing)") == 2
    assert "Sports instead of World" in mistakes


def test_commands_name_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = page(Path("runs/my run"))
    files = report.text("files")
    assert "python -m rnnjax.predict '--workdir=runs/my run' \"text\"" in files
    assert "python -m rnnjax.evaluate '--workdir=runs/my run' --data FILE.csv" in files
    assert "python -m rnnjax.main --config configs/bilstm.py --workdir 'runs/my run'" in files
    assert str(tmp_path) not in report.source
    assert "checkpoints" in files
    assert "tokenizer.json" not in files


def test_command_with_a_workdir_is_unchanged(tmp_path):
    runs.write(tmp_path)
    path = tmp_path / "environment.json"
    values = json.loads(path.read_text())
    values["command"] = "python -m rnnjax.main --config c.py --workdir=elsewhere"
    path.write_text(json.dumps(values))
    text = Page(runs.write_report(runs.reseal(tmp_path))).text("files")
    assert "--config c.py --workdir=elsewhere Files" in text


def test_accuracy_close_to_the_constant_prediction(tmp_path):
    report = page(tmp_path, classes=["no", "yes"], matrix=[[30, 20], [25, 31]])
    header = report.text("header")
    assert "57.55 % of 106 test texts" in header
    assert "which is not clearly more than the 52.83 % of always predicting yes" in header
    assert "Most frequent confusions" not in report.text("confusion")


def test_thirty_classes_one_without_rows(tmp_path):
    names = [f"class {number}" for number in range(30)]
    matrix = runs.confusion(30, 400)
    matrix[7] = [0] * 30
    report = page(tmp_path, classes=names, matrix=matrix)
    empty, scores = report.row("class 7")
    assert empty == ["·"] * 30
    assert scores[0] == "0"
    assert scores[2:4] == ["\N{EN DASH}", "\N{EN DASH}"]
    assert report.row("class 8")[0][8] == str(matrix[8][8])
    assert ("class", "confusion dense") in report.attributes


@pytest.mark.parametrize(
    ("lines", "num_plots"), [([], 0), (runs.metrics()[:1], 2), (runs.metrics()[-1:], 0)]
)
def test_few_metrics(tmp_path, lines, num_plots):
    report = page(tmp_path, lines=lines)
    assert report.tags.count("svg") == num_plots
    assert ("No training metrics" in report.text("curves")) == (num_plots == 0)
    assert ("class", "validation") not in report.attributes


def test_non_finite_losses_are_counted(tmp_path):
    lines = runs.metrics()
    lines[3]["loss"] = "nan"
    lines[5]["loss"] = "inf"
    report = page(tmp_path, lines=lines, test={"loss": "nan", "accuracy": 0.25, "rows": 7_600})
    assert "not finite on 2 logged lines" in report.text("curves")
    assert "test loss, nats per text nan" in report.text("header")


def test_no_mistakes(tmp_path):
    assert "None recorded" in page(tmp_path, worst_mistakes=[]).text("mistakes")


def test_minimal_files(tmp_path):
    (tmp_path / "config.json").write_text('{"name": "bare", "config": {}}')
    (tmp_path / "environment.json").write_text('{"data": {}}')
    (tmp_path / "metrics.jsonl").write_text("")
    (tmp_path / "result.json").write_text("{}")
    report = Page(runs.write_report(runs.reseal(tmp_path)))
    assert "No test accuracy was recorded" in report.text("header")
    assert not {"confusion", "classes", "length", "model"} & set(report.sections)


def test_any_key_of_a_result_may_be_missing(tmp_path):
    runs.write(tmp_path, lines=[])
    path = tmp_path / "result.json"
    result = json.loads(path.read_text())
    for key in result:
        path.write_text(json.dumps({name: result[name] for name in result if name != key}))
        assert "bilstm" in Page(runs.write_report(runs.reseal(tmp_path))).text("header"), key


def test_undefined_scores_are_dashes(tmp_path):
    scores = [
        {"name": "ever", "precision": 0.5, "recall": 1.0, "f1": 0.667, "rows": 4},
        {"name": "never", "precision": "nan", "recall": 0.0, "f1": 0.0, "rows": 4},
        {"name": "absent", "precision": None, "recall": None, "f1": None, "rows": 0},
    ]
    matrix = [[4, 0, 0], [4, 0, 0], [0, 0, 0]]
    report = page(tmp_path, classes=["a", "b", "c"], matrix=matrix, per_class=scores)
    dash = "\N{EN DASH}"
    assert report.row("never")[1][:4] == ["4", dash, "0.000", "0.000"]
    assert report.row("absent") == [["·" + dash] * 3, ["0", dash, dash, dash, ""]]


def test_length_bin_without_rows(tmp_path):
    bins = [
        {"from": 1, "to": 1, "rows": 0, "accuracy": None},
        {"from": 2, "to": 9, "rows": 40, "accuracy": 1.0},
    ]
    report = page(tmp_path, accuracy_by_length=bins)
    assert report.row("1")[-1] == ["0", "\N{EN DASH}", ""]
    assert report.row("2\N{EN DASH}9") == [["40", "100.0 %", ""]]


@pytest.mark.parametrize(
    "name", ["config.json", "environment.json", "metrics.jsonl", "result.json"]
)
@pytest.mark.parametrize("content", [None, "{", '"text"\n', "\udcff"])
def test_missing_or_damaged_file_is_named_and_the_old_page_remains(tmp_path, name, content):
    old = runs.write_report(runs.write(tmp_path, lines=[])).read_text()
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(os.fsencode(content + "\n"))
    with pytest.raises(InputError, match=name) as raised:
        runs.write_report(tmp_path)
    assert re.search(
        r"repeat its command|Give|Bring it back|bring the file back|folder", str(raised.value)
    )
    assert (tmp_path / "report.html").read_text() == old


def test_translation_with_attention_weights(tmp_path):
    example = {"source": "ein Hund", "reference": "a dog", "text": "<b>", "read": ["ein", "Hund"],
               "written": ["<b>", "[END]"], "attention": [[0.25, 0.75], [1.0, 0.0]]}  # fmt: skip
    scores = {"bleu": 12.34, "chrf": 45.67, "exact": 0.25, "perplexity": 3.5, "rows": 8}
    translation = {"signatures": {"bleu": "tok:13a"}, "examples": [example]}
    folder = runs.write(tmp_path, task="translation", test=scores, translation=translation)
    page = runs.write_report(folder).read_text().replace("\N{NBSP}", " ")
    assert re.findall(r'--share: ([\d.]+)" title="([^"]+)"', page) == [
        ("0.25", "&lt;b&gt; ← ein: 25 %"), ("0.75", "&lt;b&gt; ← Hund: 75 %"),
        ("1.00", "[END] ← ein: 100 %"), ("0.00", "[END] ← Hund: 0 %"),
    ]  # fmt: skip
    for text in ("12.3</p>", "BLEU of 8 test texts", "chrF is 45.7", "25.0 % equal", "tok:13a"):
        assert text in page


@pytest.mark.parametrize(("change", "message"), [
    ({"test": "good"}, "test"),
    ({"confusion": [[1, 2], [3]], "per_class": []}, "confusion has 2 rows"),
    ({"confusion": [[1, 2], [3, 4]]}, "per_class has 4 classes, confusion 2"),
    ({"worst_mistakes": [{"label": "World"}]}, "worst_mistakes.0.text"),
    ({"test": {"accuracy": 1.5, "rows": 10}}, "accuracy"),
    ({"task": "translation", "translation": {"signatures": {}, "examples": [{
        "source": "a", "reference": "b", "text": "b", "read": ["a"], "written": ["b", "[END]"],
        "attention": [[1.0]],
    }]}}, "attention is not 2 rows of 1 columns"),
])  # fmt: skip
def test_result_with_invalid_values_is_damaged(tmp_path, change, message):
    runs.write(tmp_path, **change)
    with pytest.raises(InputError, match=r"result\.json is damaged") as raised:
        runs.write_report(tmp_path)
    assert message in str(raised.value)


def test_missing_folder(tmp_path):
    with pytest.raises(InputError, match="nowhere is not a folder"):
        runs.write_report(tmp_path / "nowhere")


@pytest.mark.parametrize(("correct", "rows", "low", "high"), [
    # Newcombe (1998), Statistics in Medicine 17, table I, method 3.
    (81, 263, 0.2553, 0.3662),
    (15, 148, 0.0624, 0.1605),
    (0, 20, 0.0, 0.1611),
    (1, 29, 0.0061, 0.1718),
])  # fmt: skip
def test_wilson(correct, rows, low, high):
    interval = wilson(correct / rows, rows)
    assert interval is not None
    assert interval.low == pytest.approx(low, abs=5e-5)
    assert interval.high == pytest.approx(high, abs=5e-5)


def test_wilson_without_rows():
    assert wilson(0.5, 0) is None
    assert wilson(None, 10) is None
