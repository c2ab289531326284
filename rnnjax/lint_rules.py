"""What spoils recurrent experiments, and how it shows: the rules of `python -m rnnjax.lint`.

A rule is a function that returns what it found, in a line that says what to do, or '' where there
is nothing. Its name is the key of `config.acknowledged` that says why the thing is meant; its
docstring says what is wrong and what it has cost: the entries that it names, their means with
standard deviations or from the worst seed to the best, are those of experiments/mistakes.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from rnnjax.config import AcknowledgedConfig, Config, changed_values
from rnnjax.data.dataset import Dataset, TextDataset
from rnnjax.data.vocabulary import has_excess_unknowns, unknown_share

MOST_CUT = 0.05
"""Share of the training tokens that may be cut off unremarked."""
MOST_LEAKED = 0.01
"""Share of the test texts that may stand among the training rows unremarked."""
FEWEST_SEEDS = 3

_SCORE, _NUMBER = r"\b(accuracy|F1|loss|perplexity|bits|BLEU|chrF)\b", r"(\d*\.?\d+ ?%|\d*\.\d+)"
_CLAIM = re.compile(
    rf"{_SCORE}[^.%]{{0,60}}?{_NUMBER}|(?<![\w.]){_NUMBER}( test| validation)? {_SCORE}",
    re.IGNORECASE,
)


def padding_read(config: Config) -> str:
    """Padding is read as text, and the answer is taken from what was read.

    A simple RNN on batches of unlike length forgets over it: test accuracy `padding_read_rnn`
    .3509 ± .1082 instead of `right_rnn` .8710 ± .0073. A GRU on batches of like length loses
    nothing that three seeds tell: `padding_read` .9020 ± .0022, `right` .9036 ± .0021. Either's
    answer depends on the texts beside it.
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
    given, wanted = config.data, config.data.vocabulary
    fields = wanted.text or given.text
    trained = round(given.take * (1 - given.validation))
    cut = wanted.rows and not 0 < trained <= wanted.rows
    if not cut and set(given.text.split("+")) <= set(fields.split("+")):
        return ""
    rows = f"the first {wanted.rows:,}" if cut else "all"
    ours, theirs = "", ""
    if config.task == "classification":
        ours, theirs = f"the {fields} of ", f"the {given.text} of "
    return (
        f"the vocabulary is fitted on {ours}{rows} training rows, and the network reads {theirs}"
        "all; set data.vocabulary.text='' and data.vocabulary.rows=0"
    )


def not_shuffled(config: Config) -> str:
    """Every epoch takes the rows in the order of the file.

    A file sorted by class is learned one class at a time, and the last is what remains: test
    accuracy `not_shuffled` .3323 ± .0026 instead of `right` .9036 ± .0021.
    """
    if config.data.shuffle or config.task == "language_modeling":  # which is read in its order
        return ""
    return "data.shuffle is False, so that training follows the file's order; set data.shuffle=True"


def truncated(config: Config, dataset: TextDataset) -> str:
    """Texts lose a share of their tokens, and with them what is said there.

    Texts of at most 20 tokens, about half of what there is: test accuracy `truncated`
    .8896 ± .0016 instead of `right` .9036 ± .0021.
    """
    most = config.data.max_tokens
    if not most:
        return ""
    whole = dataset.vocabulary.encode(_texts(config, dataset, "train")).lengths
    share = 1 - float(np.minimum(whole, most).sum() / max(whole.sum(), 1))
    if share <= MOST_CUT:
        return ""
    return (
        f"data.max_tokens={most} cuts off {share:.0%} of the training tokens; set it to 0, or near "
        f"{np.quantile(whole, 0.95):.0f}, which holds 19 texts in 20"
    )


def test_leak(config: Config, dataset: TextDataset) -> str:
    """Texts of the test part stand among the training rows too, word for word.

    What is remembered then counts as understood. With a quarter of them there, seen once, the test
    accuracy is too good: `test_leak` .9129 ± .0010 instead of `right` .9036 ± .0021.
    """
    if config.data.file:  # whose lines are no texts by themselves
        return ""
    # A blank line, which pairs may have, says nothing that could be remembered.
    known = set(_texts(config, dataset, "train"))
    tested = [text for text in _texts(config, dataset, "test") if text.strip()]
    share = float(np.mean([text in known for text in tested])) if tested else 0.0
    if share <= MOST_LEAKED:
        return ""
    fields = "" if config.task == "translation" else f" ({config.data.text})"
    return (
        f"{share:.1%} of the test texts{fields} are among the training rows, word for word; take "
        "them out there"
    )


def unknown_text(config: Config, dataset: TextDataset) -> str:
    """Many test tokens are unknown, and few of the training tokens: the texts are unlike.

    The network reads all of them as one token, and a language model that predicts this token looks
    good on a text that it cannot read. A classifier with a vocabulary of too little text: test
    accuracy `narrow_vocabulary` .8826 ± .0011 instead of `right` .9036 ± .0021.
    """
    training = unknown_share(dataset.train.tokens)
    parts = {"validation": dataset.validation, "test": dataset.test}
    shares = {name: unknown_share(part.tokens) for name, part in parts.items() if part}
    found = [
        f"{share:.1%} of the {name} tokens"
        for name, share in shares.items()
        if has_excess_unknowns(share, training)
    ]
    if not found:
        return ""
    return (
        f"{' and '.join(found)} are unknown, and {training:.1%} of the training tokens; fit the "
        "vocabulary on more text (data.take, data.vocabulary.rows), read smaller units "
        "(data.vocabulary.unit), or test on text like that of the training"
    )


def bare_claim(claim: str) -> str:
    """A config's docstring gives a score without its spread over seeds.

    The next seed may say something else: test accuracy `right_rnn` .8626 to .8762 by seed.
    """
    for paragraph in re.split(r"\n\s*\n", claim):
        found = _CLAIM.search(text := " ".join(paragraph.split()))
        if found and not ("±" in text and "seeds" in text):
            return (
                f"the docstring claims {found[0]!r} without seeds and spread; give mean ± standard "
                f"deviation of at least {FEWEST_SEEDS} seeds, and name them"
            )
    return ""


def few_seeds(name: str, configs: Mapping[str, Config], seeds: Sequence[int]) -> str:
    """What is claimed stands on one seed or two, too few to tell a spread.

    Three seeds of one config end apart: test accuracy `right_rnn` .8626 to .8762.
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
    ours, theirs = configs[name].batch_size, configs[first].batch_size
    if ours == theirs:
        return ""
    return f"batch_size is {ours}, and that of {first}, beside it, {theirs}; give them the same"


def chosen_on_test(name: str, configs: Mapping[str, Config], seeds: Sequence[int]) -> str:
    """Configs on the same data that differ in numbers alone: a search that the test part decides.

    The best of several is lucky as well as good, and its score on the same rows tells the luck too:
    the choice among seeds of one config alone is worth `right_rnn` .8626 to .8762.
    """
    for other, theirs in configs.items():
        if other == name:
            return ""
        keys = _tuned_apart(configs[name], theirs)
        if keys and not configs[name].validated:
            return (
                f"differs from {other} in {', '.join(keys)} alone, and no rows are held out to "
                "choose between them; set data.validation (0.1, say)"
            )
    return ""


Place = Literal["config", "claim", "data", "experiment"]

RULES: dict[Place, tuple[Callable[..., str], ...]] = {
    "config": (padding_read, narrow_vocabulary, not_shuffled),
    "claim": (bare_claim,),
    "data": (truncated, test_leak, unknown_text),
    "experiment": (few_seeds, unlike_batch_size, chosen_on_test),
}
"""Where each rule looks: at a config; at the docstring of its file; at what a run reads, when it
begins; at an entry of an experiment, beside the others."""


class TestedMistake(NamedTuple):
    """A mistake that no config can say, why not, and the test that would fail if one could."""

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
        "tests/tasks/test_classification.py::test_the_loss_is_a_mean_over_the_weights",
    ),
    TestedMistake(
        "Dropout in evaluation",
        "answers are computed without the random numbers that dropout draws",
        "tests/tasks/test_classification.py::test_answers_are_log_probabilities_without_dropout",
    ),
    TestedMistake(
        "States are carried over shuffled batches",
        "a classifier begins every text with the initial state and keeps nothing but its "
        "parameters; a language model is handed its state in the order of the text",
        "tests/tasks/test_classification.py::test_a_network_keeps_nothing_between_batches",
    ),
)


class LintFinding(NamedTuple):
    """What a rule found, and the reason that the config gives for it, '' if none."""

    rule: str
    says: str
    reason: str


def find(place: Place, acknowledged: AcknowledgedConfig, *looked_at: Any) -> list[LintFinding]:
    """Returns what the rules of a place find.

    Args:
      place: where to look.
      acknowledged: of the config.
      *looked_at: what the rules of that place are given.
    """
    found = {rule.__name__: rule(*looked_at) for rule in RULES[place]}
    return [
        LintFinding(name, says, getattr(acknowledged, name)) for name, says in found.items() if says
    ]


def warnings(config: Config, dataset: Dataset) -> list[str]:
    """Returns what a run says when it begins: a line for each finding that is not acknowledged."""
    if not isinstance(dataset, TextDataset):
        return []
    found = find("config", config.acknowledged, config)
    found += find("data", config.acknowledged, config, dataset)
    lines = [f"WARNING: {rule}: {says}" for rule, says, reason in found if not reason]
    if lines:
        lines.append(
            "`python -m rnnjax.lint --rules` says what that costs; config.acknowledged.RULE='why' "
            "says that it is meant"
        )
    return lines


def _texts(config: Config, dataset: TextDataset, part: str) -> Sequence[str]:
    """Returns the texts of a part; of pairs, those that are read."""
    rows = slice(0, config.data.take or None)
    if config.task == "classification":
        return dataset.corpus.splits[part].texts(config.data.text, rows)
    texts = dataset.corpus.splits[part]
    return (texts.sources if config.task == "translation" else texts)[rows]


def _tuned_apart(ours: Config, theirs: Config) -> list[str]:
    """Returns the keys in which two configs differ, if all are numbers and none is of the data."""
    differing = changed_values(ours, theirs)
    differing.pop("seed", None)
    tuned = [
        type(value) in (int, float) and not key.startswith("data.")
        for key, (value, _) in differing.items()
    ]
    return list(differing) if all(tuned) else []
