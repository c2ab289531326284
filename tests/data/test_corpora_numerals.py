"""Numerals: correct targets, and disjoint splits."""

import datetime
import re

import pytest

from rnnjax.data.corpora.numerals import (
    _DATE_FORMATS,
    example,
    make_numerals,
    ordinal,
    spell_number,
)
from rnnjax.errors import InputError

ROWS = {"train": 3_000, "validation": 300, "test": 300}


@pytest.fixture(scope="module")
def corpus():
    """Returns a small corpus."""
    return make_numerals(0, ROWS)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (7, "seven"),
        (10, "ten"),
        (13, "thirteen"),
        (40, "forty"),
        (99, "ninety-nine"),
        (100, "one hundred"),
        (101, "one hundred one"),
        (819, "eight hundred nineteen"),
        (1_000, "one thousand"),
        (12_015, "twelve thousand fifteen"),
        (300_000, "three hundred thousand"),
        (999_999, "nine hundred ninety-nine thousand nine hundred ninety-nine"),
    ],
)
def test_spell_number(number, words):
    assert spell_number(number) == words


def test_spelled_numbers_are_unique():
    assert len({spell_number(number) for number in range(0, 1_000_000, 7)}) == 142_858


def test_number_out_of_range_is_refused():
    for number in (-1, 1_000_000):
        with pytest.raises(InputError, match=f"number: given {number}"):
            spell_number(number)


def test_date_formats():
    formatted = [date_format(datetime.date(1998, 3, 3)) for date_format in _DATE_FORMATS]
    assert formatted == [
        "March 3rd, 1998",
        "March 3, 1998",
        "Mar 3, 1998",
        "3 March 1998",
        "3 Mar 1998",
        "Tuesday, 3 March 1998",
        "Tue 3 Mar 1998",
        "the 3rd of March 1998",
        "3.3.1998",
    ]
    ranks = {"1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd", "23rd", "30th"}
    assert {ordinal(int(rank[:-2])) for rank in ranks} == ranks


def day_of(text):
    """Parses a date with the standard library."""
    plain = re.sub(r"(\d)(st|nd|rd|th)\b", r"\1", text).replace("the ", "").replace(" of", "")
    formats = "%B %d, %Y|%b %d, %Y|%d %B %Y|%d %b %Y|%A, %d %B %Y|%a %d %b %Y|%d.%m.%Y"
    for date_format in formats.split("|"):
        try:
            return datetime.datetime.strptime(plain, date_format).date()
        except ValueError:
            continue
    raise AssertionError(text)


def test_targets_are_correct(corpus):
    for pairs in corpus.splits.values():
        for source, target in zip(pairs.sources, pairs.targets, strict=True):
            if source.isdecimal():
                assert target == spell_number(int(source))
            else:
                assert target == day_of(source).isoformat()


def test_splits_are_disjoint_with_both_kinds(corpus):
    answers = {name: set(pairs.targets) for name, pairs in corpus.splits.items()}
    assert not answers["train"] & (answers["validation"] | answers["test"])
    assert not answers["validation"] & answers["test"]
    for name, pairs in corpus.splits.items():
        numbers = [text for text in pairs.sources if text.isdecimal()]
        assert 0.4 < len(numbers) / ROWS[name] < 0.6
        assert {len(text) for text in numbers} == set(range(1 if name == "train" else 4, 7))
        # Of one and two digits there are 100.
        assert len(set(pairs.sources)) > 0.8 * ROWS[name]


def test_example_depends_on_seed_and_index_only(corpus):
    for name, pairs in corpus.splits.items():
        for index in (0, 5, 299):
            assert example(name, 0, index) == (pairs.sources[index], pairs.targets[index])
    small = make_numerals(0, {"train": 10})
    assert small.splits["train"].sources == corpus.splits["train"].sources[:10]
    assert make_numerals(1, {"train": 10}).splits["train"].sources != small.splits["train"].sources
    assert make_numerals(0, ROWS).fingerprint == corpus.fingerprint
    assert small.fingerprint == ("edeb4dad6bf54a316c080d08f7989225bee83013423394db1b9aaccc94c54b73")


def test_invalid_rows_are_refused():
    for rows in ({"train": 0}, {"dev": 5}):
        with pytest.raises(InputError, match="rows: given"):
            make_numerals(0, rows)
