"""Lint rules: findings, the absence of findings, and the measured costs in docstrings."""

import ast
import inspect
import json
import re
import statistics
from pathlib import Path

import pytest
from training.small_runs import news_config, write_news

from rnnjax import config as schema
from rnnjax import lint_rules
from rnnjax.config import AcknowledgedConfig, parse
from rnnjax.data.corpora.parallel_text import ParallelCorpus, SentencePairs
from rnnjax.data.corpora.plain_text import TextCorpus
from rnnjax.lint_rules import RULES, TESTED_MISTAKES, LintFinding
from rnnjax.tasks.classification.data import load_corpus, make_dataset
from rnnjax.tasks.language_modeling import data as text_stream
from rnnjax.tasks.translation import data as translation_pairs

pytest_plugins = ["training.small_runs"]

ROOT = Path(__file__).resolve().parents[1]
NAMES = [rule.__name__ for place in RULES.values() for rule in place]


def config_of(**changes):
    return news_config(Path("news"), **changes)


def test_what_can_be_acknowledged_are_the_rules():
    assert sorted(NAMES) == sorted(AcknowledgedConfig.model_fields)


TITLES = {"data__vocabulary__text": "title"}


@pytest.mark.parametrize(
    ("rule", "changes", "message"),
    [
        (lint_rules.padding_read, {"model__mask": False}, "model.mask is False"),
        (lint_rules.padding_read, {}, ""),
        (lint_rules.padding_read, {"model__mask": False, "batch_size": 1}, ""),
        (lint_rules.not_shuffled, {"data__shuffle": False}, "data.shuffle is False"),
        (lint_rules.not_shuffled, {}, ""),
        (lint_rules.narrow_vocabulary, {}, ""),
        (lint_rules.narrow_vocabulary, TITLES, "on the title of all training rows"),
        (lint_rules.narrow_vocabulary, {**TITLES, "data__text": "title"}, ""),
        (
            lint_rules.narrow_vocabulary,
            {"data__text": "title", "data__vocabulary__rows": 9},
            "first 9 ",
        ),
        (
            lint_rules.narrow_vocabulary,
            {"data__text": "title", "data__vocabulary__text": "title+description"},
            "",
        ),
        (
            lint_rules.narrow_vocabulary,
            {"data__vocabulary__rows": 90, "data__take": 100},
            "first 90 ",
        ),
        (lint_rules.narrow_vocabulary, {"data__vocabulary__rows": 100, "data__take": 100}, ""),
        (
            lint_rules.narrow_vocabulary,
            {"data__vocabulary__rows": 90, "data__take": 100, "data__validation": 0.1},
            "",
        ),
    ],
)
def test_config_rules(rule, changes, message):
    result = rule(config_of(**changes))
    assert message in result if message else result == ""


@pytest.mark.parametrize(
    ("task", "model", "message"),
    [
        ("language_modeling", {"initialization": "keras"}, "set model.initialization=''"),
        ("language_modeling", {"embedding": {"scale": 0.05}}, "model.embedding.scale is 0.05 with"),
        ("language_modeling", {"embedding": {"scale": 0.1}}, ""),
        ("language_modeling", {"initialization": "keras", "layers": 1}, ""),
        ("language_modeling", {}, ""),
        ("translation", {"initialization": "keras"}, "with 2 layers"),
        ("classification", {"initialization": "keras"}, ""),
    ],
)
def test_small_initial_values_of_stacked_layers_are_found(task, model, message):
    config = schema.parse({"task": task, "model": {"layers": 2, **model}})
    result = lint_rules.stacked_plateau(config)
    assert message in result if message else result == ""


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (
            "translation",
            ["on the first 90 training rows, and the network reads all;", "the file's"],
        ),
        ("language_modeling", ["on the first 90 training rows, and the network reads all;"]),
    ],
)
def test_what_writes_a_text_is_looked_at_too(task, expected):
    wrong = {"shuffle": False, "vocabulary": {"rows": 90}}
    config = schema.parse({"task": task, "data": wrong})
    result = lint_rules.find("config", config.acknowledged, config)
    assert len(result) == len(expected)
    assert all(
        message in finding.message for message, finding in zip(expected, result, strict=True)
    )


@pytest.mark.parametrize(
    ("claim", "wrong"),
    [
        ("A GRU.\n\nTest accuracy 0.8850.", True),
        ("A GRU.\n\nAccuracy on the test rows\nis 88.5 %.", True),
        ("F1 .88 ± .01 in one epoch.", True),
        ("Accuracy .88 with seed 3.", True),
        ("Perplexity 12.1 ± 0.1 with seed 0.", True),
        ("It reaches 88.5 % accuracy.", True),
        ("About .92 test accuracy in a minute.", True),
        ("In the end 1.55 bits a character.", True),
        ("Decay 0.9, loss by the token.", False),
        ("Seeds 0 to 2 with spread, ±.\n\nTest accuracy 0.8850.", True),
        ("Test accuracy 0.8804 ± 0.0037 (mean and\nstandard deviation of seeds 0 to 2).", False),
        ("Adam at 1e-3, dropout 0.3, one epoch.", False),
        ("The accuracy is told in experiments/lesson. Dropout is 0.3.", False),
        ("", False),
    ],
)
def test_a_score_needs_its_seeds_and_its_spread_beside_it(claim, wrong):
    assert bool(lint_rules.bare_claim(claim)) == wrong


@pytest.fixture(scope="module")
def leaky(tmp_path_factory):
    """News of 200 rows to train on, and 100 to test of which two are among them."""
    folder = tmp_path_factory.mktemp("leaky")
    write_news(folder / "train.csv", 200, seed=1)
    write_news(folder / "test.csv", 98, seed=2)
    rows = (folder / "train.csv").read_text().splitlines(keepends=True)
    with (folder / "test.csv").open("a") as file:
        file.writelines([rows[3], rows[170]])
    return folder


def of_data(rule, folder, **changes):
    config = news_config(folder, **changes)
    return rule(config, make_dataset(config, load_corpus(config.data)))


def test_test_texts_among_the_training_rows_are_counted(leaky, news):
    assert of_data(lint_rules.test_leak, leaky).startswith(
        "2.0% of the test texts (title+description)"
    )
    assert of_data(lint_rules.test_leak, news) == ""
    # Of the 100 training rows that are taken, one is among the test rows: no more than 1 %.
    assert of_data(lint_rules.test_leak, leaky, data__take=100) == ""


@pytest.mark.parametrize(
    ("make", "values", "message"),
    [
        (translation_pairs, {"task": "translation"}, "25.0% of the test texts are"),
        (
            text_stream,
            {"task": "language_modeling"},
            "25.0% of the test texts (title+description) are",
        ),
        (text_stream, {"task": "language_modeling", "data": {"file": "lines.txt"}}, ""),
    ],
)
def test_texts_that_are_written_can_leak_too(make, values, message):
    train, test = [f"{n} of them" for n in range(40)], ["7 of them", "so", "it", "goes"]
    config = schema.parse(values)
    if config.task == "translation":
        splits = {"train": SentencePairs(train, train), "validation": SentencePairs(test, test)}
        corpus = ParallelCorpus(
            "two", "", {**splits, "test": SentencePairs(test, ["a", "b", "c", "d"])}
        )
    else:
        corpus = TextCorpus(
            "one",
            "",
            "",
            "",
            connected=bool(config.data.file),
            splits={"train": train, "test": test},
        )
    result = lint_rules.test_leak(config, make.make_dataset(config, corpus))
    assert result.startswith(message) if message else result == ""


def test_unknown_tokens_that_the_training_does_not_have_are_counted():
    train, test = ["a b c d e f g h i"] * 3, ["a b c d e x y"]

    def check(train, test, **data):
        splits = {"train": train, "test": test}
        corpus = TextCorpus("one", "", "", "", connected=False, splits=splits)
        config = schema.parse({"task": "language_modeling", "data": data})
        return lint_rules.unknown_text(config, text_stream.make_dataset(config, corpus))

    # Two of seven words and two ends.
    assert check(train, test).startswith("22.2% of the test tokens are unknown, and 0.0% of the")
    assert check(train, train) == ""
    assert check(train, test, vocabulary={"size": 8}) == ""  # so that most of the training are too
    message = check(
        [*train, *test, *test], test, validation=0.4
    )  # four of fourteen, and three ends
    assert message.startswith("23.5% of the validation tokens and 22.2% of the test tokens are")


@pytest.mark.parametrize(("tests", "message"), [(["", " ", "so"], ""), (["", "x", "so"], "50.0%")])
def test_blank_lines_are_no_leak(tests, message):
    part, test = SentencePairs(["", "x"], ["", "y"]), SentencePairs(tests, ["a", "b", "c"])
    corpus = ParallelCorpus("two", "", {"train": part, "validation": part, "test": test})
    config = schema.parse({"task": "translation"})
    result = lint_rules.test_leak(config, translation_pairs.make_dataset(config, corpus))
    assert result.startswith(message) if message else result == ""


def test_tokens_that_are_cut_off_are_counted(news):
    lengths = of_data(lambda _, dataset: dataset.train.sequences.lengths, news)
    for most in (5, 20):
        share = sum(max(length - most, 0) for length in lengths) / sum(lengths)
        result = of_data(lint_rules.truncated, news, data__max_tokens=most)
        assert (share > lint_rules.MOST_CUT) == bool(result)
        assert not result or f"max_tokens={most} cuts off {share:.0%} of" in result
    assert of_data(lint_rules.truncated, news) == ""


def beside(rule, name, seeds=(0, 1, 2), **entries):
    configs = {entry: config_of(**changes) for entry, changes in entries.items()}
    return rule(name, configs, list(seeds))


def test_one_seed_or_two_are_few():
    assert "seeds [4]" in beside(lint_rules.few_seeds, "a", seeds=[4], a={})
    assert beside(lint_rules.few_seeds, "a", seeds=[4, 5], a={})
    assert beside(lint_rules.few_seeds, "a", a={}) == ""


def test_another_batch_size_than_the_first_has_is_found():
    entries = {"a": {}, "b": {"epochs": 3}, "c": {"batch_size": 5}}
    result = [beside(lint_rules.unlike_batch_size, name, **entries) for name in entries]
    assert result[:2] == ["", ""]
    assert result[2].startswith("batch_size is 5, and that of a, beside it, 16")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0.5}, "differs from a in learning_rate alone"),
        ({"learning_rate": 0.5, "model__dropout": 0.1}, "in learning_rate, model.dropout alone"),
        ({"learning_rate": 0.5, "data__validation": 0.1}, ""),
        ({"learning_rate": 0.5, "model__cell": "GRUCell"}, ""),
        ({"learning_rate": 0.5, "model__mask": False}, ""),
        ({"data__take": 5}, ""),
        ({"acknowledged__padding_read": "so", "seed": 9}, ""),
        ({"learning_rate": 0.5, "acknowledged__padding_read": "so"}, "in learning_rate alone"),
    ],
)
def test_a_search_without_rows_to_choose_by_is_found(changes, message):
    result = [beside(lint_rules.chosen_on_test, name, a={}, b=changes) for name in ("a", "b")]
    assert result[0] == ""
    assert message in result[1] if message else result[1] == ""


def test_pairs_of_texts_come_with_rows_to_choose_by():
    rates = {"a": 0.1, "b": 0.2}
    configs = {
        name: schema.parse({"task": "translation", "learning_rate": rate})
        for name, rate in rates.items()
    }
    assert lint_rules.chosen_on_test("b", configs, [0]) == ""


def test_a_reason_goes_with_what_is_found():
    config = config_of(model__mask=False, data__shuffle=False, acknowledged__not_shuffled="so")
    result = lint_rules.find("config", config.acknowledged, config)
    assert [(rule, reason) for rule, _, reason in result] == [
        ("padding_read", ""),
        ("not_shuffled", "so"),
    ]
    assert all(isinstance(finding, LintFinding) and finding.message for finding in result)


def test_a_run_message_what_is_not_acknowledged_and_where_to_read_more(leaky):
    def warn(**changes):
        config = news_config(leaky, **changes)
        return lint_rules.warnings(config, make_dataset(config, load_corpus(config.data)))

    first, second, hint = warn(data__shuffle=False)
    assert first.startswith("WARNING: not_shuffled: ")
    assert second.startswith("WARNING: test_leak: 2.0%")
    assert "--rules" in hint
    reasons = {f"acknowledged__{name}": "so" for name in parse({}).acknowledged.model_dump()}
    assert warn(data__shuffle=False, **reasons) == []


@pytest.mark.parametrize("mistake", TESTED_MISTAKES, ids=lambda mistake: mistake.mistake)
def test_tested_mistakes_name_an_existing_test(mistake):
    file, name = mistake.test.split("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]


def measured():
    """Returns the test accuracies of finding entry of experiments/mistakes, by seed."""
    result = {}
    path = ROOT / "experiments" / "mistakes" / "runs.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines():
        run = json.loads(line)
        result.setdefault(run["name"], []).append(run["test"]["accuracy"])
    return result


_QUOTED = re.compile(r"`(\w+)` (\.\d{4}) (±|to) (\.\d{4})")


# Nothing in experiments/mistakes is a language model.
@pytest.mark.parametrize("name", [name for name in NAMES if name != "stacked_plateau"])
def test_the_damage_that_a_rule_tells_is_what_was_measured(name):
    text = " ".join((inspect.getdoc(getattr(lint_rules, name)) or "").split())
    quoted = _QUOTED.findall(text)
    assert quoted
    assert re.findall(r"\.\d{2,}", _QUOTED.sub("", text)) == []
    for entry, first, kind, second in quoted:
        values = measured()[entry]
        assert len(values) >= lint_rules.FEWEST_SEEDS
        spread = statistics.mean(values), statistics.stdev(values)
        expected = spread if kind == "±" else (min(values), max(values))
        assert (first, second) == tuple(f"{value:.4f}"[1:] for value in expected)
