"""Generated sentence pairs: numbers to English words, and dates to ISO 8601.

Numbers from 0 to 999,999 in digits become English words, `40712` 'forty thousand seven hundred
twelve'. Dates of the years 1900 to 2099 in many formats become one, `Mar 3, 1998` '1998-03-03'.
Examples are unlimited, and an answer is right or wrong.
"""

import datetime
import hashlib
import itertools
from collections.abc import Callable, Mapping

from rnnjax.data.corpora.parallel_text import ParallelCorpus, SentencePairs
from rnnjax.errors import InputError

ROWS = {"train": 50_000, "validation": 2_000, "test": 2_000}
"""Default number of examples of each split."""

_SHARES = {"test": 1, "validation": 1, "train": 18}
"""Share of the numbers and days of each split, in twentieths; no two splits share one."""
_SMALL = 1_000
"""Smaller numbers are all in the training split: larger ones are spelled with their words."""
_MAX_NUMBER = 999_999
_FIRST_DAY = datetime.date(1900, 1, 1)
_LAST_DAY = datetime.date(2099, 12, 31)
# fmt: off
_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
)
_TENS = (
    "", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
)
_MONTHS = (
    "", "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# fmt: on

_DATE_FORMATS: tuple[Callable[[datetime.date], str], ...] = (
    lambda day: f"{_MONTHS[day.month]} {ordinal(day.day)}, {day.year}",
    lambda day: f"{_MONTHS[day.month]} {day.day}, {day.year}",
    lambda day: f"{_MONTHS[day.month][:3]} {day.day}, {day.year}",
    lambda day: f"{day.day} {_MONTHS[day.month]} {day.year}",
    lambda day: f"{day.day} {_MONTHS[day.month][:3]} {day.year}",
    lambda day: f"{_DAYS[day.weekday()]}, {day.day} {_MONTHS[day.month]} {day.year}",
    lambda day: f"{_DAYS[day.weekday()][:3]} {day.day} {_MONTHS[day.month][:3]} {day.year}",
    lambda day: f"the {ordinal(day.day)} of {_MONTHS[day.month]} {day.year}",
    lambda day: f"{day.day}.{day.month}.{day.year}",
)
"""Formats of a date; the last one has the day first, as in most of Europe."""


def make_numerals(seed: int = 0, rows: Mapping[str, int] = ROWS) -> ParallelCorpus:
    """Generates a corpus of numbers and dates.

    Args:
      seed: of the examples; the numbers and days of each split are the same for all seeds.
      rows: number of examples of each split.

    Raises:
      InputError: a split has no rows, or an unknown name.
    """
    for split, count in rows.items():
        if split not in _SHARES or count < 1:
            raise InputError(
                f"rows: given {count} of the split {split!r}, expected 1 or more of "
                f"{', '.join(_SHARES)}"
            )
    splits = {}
    for split, count in rows.items():
        pairs = (example(split, seed, index) for index in range(count))
        splits[split] = SentencePairs(*zip(*pairs, strict=True))
    source = f"numbers to English words and dates to ISO 8601, made here, seed {seed}"
    return ParallelCorpus("numerals", source, splits)


def example(split: str, seed: int, index: int) -> tuple[str, str]:
    """Generates one source and its target, which follow from the arguments alone.

    Half of the examples are numbers, about equally often of each number of digits that the split
    has; half are dates.
    """
    is_number = _hash(f"{split} {seed} {index}") % 2
    for attempt in itertools.count():
        stream = _hash(f"{split} {seed} {index} {attempt}")
        if is_number:
            stream, digits = divmod(stream, 6)
            number = stream % 10 ** (digits + 1)
            if _split_of("number", number) == split:
                return str(number), spell_number(number)
        else:
            stream, date_format = divmod(stream, len(_DATE_FORMATS))
            days = (_LAST_DAY - _FIRST_DAY).days + 1
            day = _FIRST_DAY + datetime.timedelta(days=stream % days)
            if _split_of("day", day.toordinal()) == split:
                return _DATE_FORMATS[date_format](day), day.isoformat()
    raise AssertionError


def spell_number(number: int) -> str:
    """Spells a number in English, without 'and': 'twenty-one thousand one hundred five'.

    Raises:
      InputError: the number is not from 0 to 999,999.
    """
    if not 0 <= number <= _MAX_NUMBER:
        raise InputError(f"number: given {number}, expected 0 to {_MAX_NUMBER:,}")
    thousands, rest = divmod(number, 1000)
    words = [f"{_below_1000(thousands)} thousand"] if thousands else []
    if rest or not thousands:
        words.append(_below_1000(rest))
    return " ".join(words)


def ordinal(number: int) -> str:
    """Returns the ordinal of a number from 1 to 31, '3rd'."""
    teens = 11 <= number <= 13
    return f"{number}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def _below_1000(number: int) -> str:
    hundreds, rest = divmod(number, 100)
    words = [f"{_ONES[hundreds]} hundred"] if hundreds else []
    if rest >= 20:
        tens, ones = divmod(rest, 10)
        words.append(_TENS[tens] + (f"-{_ONES[ones]}" if ones else ""))
    elif rest or not hundreds:
        words.append(_ONES[rest])
    return " ".join(words)


def _split_of(kind: str, value: int) -> str:
    if kind == "number" and value < _SMALL:
        return "train"
    remainder = _hash(f"{kind} {value}") % sum(_SHARES.values())
    for split, share in _SHARES.items():
        if remainder < share:
            return split
        remainder -= share
    raise AssertionError(remainder)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")
