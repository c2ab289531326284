"""Rules of `python -m rnnjax.lint`: common mistakes in recurrent experiments.

A rule is a function that returns a message with a remedy, or '' without a finding. Its name is the
key of `config.acknowledged` for the reason why the mistake is intended. Its docstring explains the
mistake and its measured cost: entries of experiments/mistakes, with their means and standard
deviations, or from the worst seed to the best.
"""

import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Int64

from rnnjax.config import AcknowledgedConfig, Config, changed_values
from rnnjax.data.dataset import Dataset, TextDataset
from rnnjax.data.token_files import encode_parts
from rnnjax.data.vocabulary import has_excess_unknowns, unknown_share

MOST_CUT = 0.05
"""Maximum share of truncated training tokens without a finding."""
MOST_LEAKED = 0.01
"""Maximum share of test texts among the training rows without a finding."""
MOST_TEXTS = 2**20
"""Training texts whose length is looked at, from the start."""
FEWEST_SEEDS = 3
LARGEST_SMALL_SCALE = 0.05
"""Scale of the embedding, that of Keras, up to which stacked layers may stay on a plateau."""

_SCORE, _NUMBER = r"\b(accuracy|F1|loss|perplexity|bits|BLEU|chrF)\b", r"(\d*\.?\d+ ?%|\d*\.\d+)"
_CLAIM = re.compile(
    rf"{_SCORE}[^.%]{{0,60}}?{_NUMBER}|(?<![\w.]){_NUMBER}( test| validation)? {_SCORE}",
    re.IGNORECASE,
)


def padding_read(config: Config) -> str:
    """Padding is read as text, and its steps change the output.

    A simple RNN on batches of unlike length forgets over it: test accuracy `padding_read_rnn`
    .3509 ± .1082 instead of `right_rnn` .8710 ± .0073. A GRU on batches of like length loses
    nothing that three seeds show: `padding_read` .9020 ± .0022, `right` .9036 ± .0021. The outputs
    of both depend on the other texts of a batch.
    """
    if config.model.mask or config.batch_size == 1:
        return ""
    return (
        "model.mask is False, so that padding is read as text up to the longest of the batch; set "
        "model.mask=True"
    )


def narrow_vocabulary(config: Config) -> str:
    """The vocabulary is fitted on less than what the network reads: words it could learn are lost.

    Fitted on the titles of 2,000 rows instead of all text: test accuracy `narrow_vocabulary`
    .8826 ± .0011 instead of `right` .9036 ± .0021.
    """
    data, vocabulary = config.data, config.data.vocabulary
    fields = vocabulary.text or data.text
    train_rows = round(data.take * (1 - data.validation))
    is_limited = vocabulary.rows and not 0 < train_rows <= vocabulary.rows
    if not is_limited and set(data.text.split("+")) <= set(fields.split("+")):
        return ""
    rows = f"the first {vocabulary.rows:,}" if is_limited else "all"
    fitted_fields, read_fields = "", ""
    if config.task_schema.reads("data.vocabulary.text"):
        fitted_fields, read_fields = f"the {fields} of ", f"the {data.text} of "
    return (
        f"the vocabulary is fitted on {fitted_fields}{rows} training rows, and the network reads "
        f"{read_fields}all; set data.vocabulary.text='' and data.vocabulary.rows=0"
    )


def not_shuffled(config: Config) -> str:
    """Every epoch takes the rows in the order of the file.

    A file sorted by class is learned one class at a time, and the last is what remains: test
    accuracy `not_shuffled` .3323 ± .0026 instead of `right` .9036 ± .0021.
    """
    if config.data.shuffle or config.task_schema.ordered:
        return ""
    return "data.shuffle is False, so that training follows the file's order; set data.shuffle=True"


def stacked_plateau(config: Config) -> str:
    """Stacked layers of a language model have small initial values.

    Two layers or more then stay for long at the loss of the token frequencies: outputs that hardly
    differ from token to token pass hardly any gradient down. On news and on a novel of words, two
    LSTM layers with Keras' initial values have not left it after an epoch; one layer has. A run
    reports the perplexity of unigrams beside its own, and warns where it is no better.
    """
    model = config.model
    if model.layers == 1 or "perplexity" not in config.task_schema.metrics:
        return ""
    if model.initialization == "keras":
        cause, remedy = "model.initialization is 'keras'", "model.initialization=''"
    elif 0 < model.embedding.scale <= LARGEST_SMALL_SCALE:
        cause, remedy = f"model.embedding.scale is {model.embedding.scale}", "it to 0, or 0.1 say"
    else:
        return ""
    return (
        f"{cause} with {model.layers} layers, whose loss can stay at that of the token frequencies "
        f"for long; set {remedy}"
    )


def truncated(config: Config, dataset: TextDataset) -> str:
    """Texts are truncated, and lose the information of the cut tokens.

    Texts of at most 20 tokens, about half of all tokens: test accuracy `truncated`
    .8896 ± .0016 instead of `right` .9036 ± .0021.
    """
    max_tokens = config.data.max_tokens
    if not max_tokens:
        return ""
    texts = dataset.texts(config.data, "train")[:MOST_TEXTS]
    lengths = np.concatenate(
        [part.lengths for part in encode_parts("lint", texts, dataset.vocabulary)]
    )
    share = 1 - float(np.minimum(lengths, max_tokens).sum() / max(lengths.sum(), 1))
    if share <= MOST_CUT:
        return ""
    return (
        f"data.max_tokens={max_tokens} cuts off {share:.0%} of the training tokens; set it to 0, "
        f"or near {np.quantile(lengths, 0.95):.0f}, which holds 19 texts in 20"
    )


def test_leak(config: Config, dataset: TextDataset) -> str:
    """Texts of the test split are among the training rows, word for word.

    Memorized texts then count as generalization. With a quarter of them there, for one epoch, the
    test accuracy is too good: `test_leak` .9129 ± .0010 instead of `right` .9036 ± .0021.
    """
    test = np.concatenate([*_hash_texts(dataset.texts(config.data, "test"))])
    distinct = np.unique(test)
    leaked = np.zeros(len(distinct), bool)
    for hashes in _hash_texts(dataset.texts(config.data, "train")):
        leaked |= np.isin(distinct, hashes)
    share = float(np.mean(leaked[np.searchsorted(distinct, test)])) if len(test) else 0.0
    if share <= MOST_LEAKED:
        return ""
    fields = f" ({config.data.text})" if config.task_schema.reads("data.text") else ""
    return (
        f"{share:.1%} of the test texts{fields} are among the training rows, word for word; take "
        "them out there"
    )


def _hash_texts(texts: Iterable[str]) -> Iterator[Int64[np.ndarray, " texts"]]:
    """Yields 64-bit hashes of texts, which may be larger than memory, in blocks."""
    # Parallel texts may have blank lines, which hold nothing to memorize.
    hashes = (hash(text) for text in texts if text.strip())
    yield np.zeros(0, np.int64)
    while len(block := np.fromiter(itertools.islice(hashes, MOST_TEXTS), np.int64)):
        yield block


def unknown_text(config: Config, dataset: TextDataset) -> str:
    """Many test tokens are unknown, and few of the training tokens: the texts are unlike.

    The network reads all of them as one token, and a language model that predicts this token looks
    good on a text that it cannot read. A classifier with a vocabulary of too little text: test
    accuracy `narrow_vocabulary` .8826 ± .0011 instead of `right` .9036 ± .0021.
    """
    training = unknown_share(dataset.train.tokens)
    parts = {"validation": dataset.validation, "test": dataset.test}
    shares = {name: unknown_share(part.tokens) for name, part in parts.items() if part}
    excesses = [
        f"{share:.1%} of the {name} tokens"
        for name, share in shares.items()
        if has_excess_unknowns(share, training)
    ]
    if not excesses:
        return ""
    return (
        f"{' and '.join(excesses)} are unknown, and {training:.1%} of the training tokens; fit the "
        "vocabulary on more text (data.take, data.vocabulary.rows), read smaller units "
        "(data.vocabulary.unit), or test on text like that of the training"
    )


def bare_claim(claim: str) -> str:
    """A config's docstring gives a score without its spread over seeds.

    The next seed may differ: test accuracy `right_rnn` .8626 to .8762 by seed.
    """
    for paragraph in re.split(r"\n\s*\n", claim):
        claimed = _CLAIM.search(text := " ".join(paragraph.split()))
        if claimed and not ("±" in text and "seeds" in text):
            return (
                f"the docstring claims {claimed[0]!r} without seeds and spread; give mean ± "
                f"standard deviation of at least {FEWEST_SEEDS} seeds, and name them"
            )
    return ""


def few_seeds(name: str, configs: Mapping[str, Config], seeds: Sequence[int]) -> str:
    """A claim rests on one seed or two, too few to estimate a spread.

    Three seeds of one config differ: test accuracy `right_rnn` .8626 to .8762.
    """
    if len(seeds) >= FEWEST_SEEDS:
        return ""
    return f"is trained with seeds {list(seeds)}; list at least {FEWEST_SEEDS} in experiment.toml"


def unlike_batch_size(name: str, configs: Mapping[str, Config], seeds: Sequence[int]) -> str:
    """Configs that are compared differ in batch size.

    At one learning rate and number of epochs, larger batches are fewer updates: with 256 texts
    instead of 32, test accuracy `unlike_batch_size` .8284 ± .0032 instead of `right` .9036 ± .0021.
    """
    first, *_ = configs
    batch_size, first_batch_size = configs[name].batch_size, configs[first].batch_size
    if batch_size == first_batch_size:
        return ""
    return (
        f"batch_size is {batch_size}, and that of {first}, beside it, {first_batch_size}; give "
        "them the same"
    )


def chosen_on_test(name: str, configs: Mapping[str, Config], seeds: Sequence[int]) -> str:
    """Configs on the same data differ in numbers alone: a search decided on the test split.

    The best of several is lucky as well as good, and its score on the same rows includes the luck:
    the choice among seeds of one config alone is worth `right_rnn` .8626 to .8762.
    """
    for previous, config in configs.items():
        if previous == name:
            return ""
        keys = _tuned_keys(configs[name], config)
        if keys and not configs[name].validated:
            return (
                f"differs from {previous} in {', '.join(keys)} alone, and no rows are held out to "
                "choose between them; set data.validation (0.1, say)"
            )
    return ""


def swept_on_test(config: Config) -> str:
    """The trials of a sweep are compared on the test split.

    The best of many trials is lucky on these rows, and its test score includes the luck: the choice
    among seeds of one config alone is worth `right_rnn` .8626 to .8762.
    """
    data = config.data
    if data.validation_file and os.path.realpath(data.validation_file) == os.path.realpath(
        data.test_file
    ):
        return (
            "has the test file as data.validation_file, so that the test split would choose; give "
            "another file, or set data.validation (0.1, say)"
        )
    if config.validated:
        return ""
    return (
        "holds out no rows, so that only the test split could choose; set data.validation in the "
        "flags of the sweep (--config.data.validation=0.1, say)"
    )


Place = Literal["config", "claim", "data", "experiment", "sweep"]

RULES: dict[Place, tuple[Callable[..., str], ...]] = {
    "config": (padding_read, narrow_vocabulary, not_shuffled, stacked_plateau),
    "claim": (bare_claim,),
    "data": (truncated, test_leak, unknown_text),
    "experiment": (few_seeds, unlike_batch_size, chosen_on_test),
    "sweep": (swept_on_test,),
}
"""Rules by the object that they check: a config, the docstring of its file, the data of a run when
it starts, an entry of an experiment among its entries, or the config of the trials of a sweep."""


class TestedMistake(NamedTuple):
    """A mistake that no config can express, the reason, and the test that ensures it."""

    mistake: str
    because: str
    test: str


TESTED_MISTAKES = (
    TestedMistake(
        "The test part chooses when to stop or what to keep",
        "the validation part does, which is held out of the training rows",
        "tests/training/test_evaluation.py::test_test_split_has_no_effect_on_training",
    ),
    TestedMistake(
        "Padding and unknown words share a number",
        "a vocabulary numbers them 0 and 1, and a tokenizer.json that does not is refused",
        "tests/data/test_vocabulary.py::test_file_without_padding_and_unknown_ids_is_refused",
    ),
    TestedMistake(
        "A mean runs over padding",
        "the mask is a law, and losses and scores are sums over real texts by their number",
        "tests/tasks/test_classification.py::test_loss_is_a_weighted_mean",
    ),
    TestedMistake(
        "Dropout in evaluation",
        "outputs are computed without the random numbers that dropout draws",
        "tests/tasks/test_classification.py::test_outputs_are_log_probabilities_without_dropout",
    ),
    TestedMistake(
        "States are carried over shuffled batches",
        "a classifier starts every text from the initial state, and has parameters only; a "
        "language model receives its state in the order of the text",
        "tests/tasks/test_classification.py::test_network_has_parameters_only",
    ),
)


class LintFinding(NamedTuple):
    """The message of a rule, and the reason why the mistake is intended, '' if none."""

    rule: str
    message: str
    reason: str


def find(place: Place, acknowledged: AcknowledgedConfig, *checked: Any) -> list[LintFinding]:
    """Returns the findings of the rules of a place.

    Args:
      place: key of `RULES`.
      acknowledged: of the config.
      *checked: arguments of the rules of that place.
    """
    messages = {rule.__name__: rule(*checked) for rule in RULES[place]}
    return [
        LintFinding(name, message, getattr(acknowledged, name))
        for name, message in messages.items()
        if message
    ]


def warnings(config: Config, dataset: Dataset) -> list[str]:
    """Returns the warnings at the start of a run: a line for each finding without a reason."""
    if not isinstance(dataset, TextDataset):
        return []
    findings = find("config", config.acknowledged, config)
    findings += find("data", config.acknowledged, config, dataset)
    lines = [f"WARNING: {rule}: {message}" for rule, message, reason in findings if not reason]
    if lines:
        lines.append(
            "`python -m rnnjax.lint --rules` explains the cost; config.acknowledged.RULE='why' "
            "marks it as intended"
        )
    return lines


def _tuned_keys(first: Config, second: Config) -> list[str]:
    """Returns the keys in which two configs differ, if all are numbers and none is of the data."""
    differing = changed_values(first, second)
    differing.pop("seed", None)
    tuned = [
        type(value) in (int, float) and not key.startswith("data.")
        for key, (value, _) in differing.items()
    ]
    return list(differing) if all(tuned) else []
