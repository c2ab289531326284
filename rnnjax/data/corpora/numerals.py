"""A task of translation that the project makes itself: numbers to words, dates to ISO 8601.

Numbers from 0 to 999,999 in digits become English words, `40712` 'forty thousand seven hundred
twelve'. Dates of the years 1900 to 2099, written in many ways, become one, `Mar 3, 1998`
'1998-03-03'. There is no end of examples, and an answer is right or wrong.
"""

import datetime
import hashlib
import itertools
from collections.abc import Callable, Mapping

from rnnjax.data.corpora.parallel_text import ParallelCorpus, SentencePairs
from rnnjax.errors import InputError

ROWS = {"train": 50_000, "validation": 2_000, "test": 2_000}
"""How many examples the parts have by default."""

_SHARES = {"test": 1, "validation": 1, "train": 18}
"""Of the numbers and of the days, in twentieths: no two parts share one, however it is written."""
_SMALL = 1_000
"""Numbers below this are all of the training part: the words of the others are made of theirs."""
_LARGEST = 999_999
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

_FORMS: tuple[Callable[[datetime.date], str], ...] = (
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
"""How a date is written; the last one has the day first, as in most of Europe."""


def numerals(seed: int = 0, rows: Mapping[str, int] = ROWS) -> ParallelCorpus:
    """Returns a corpus of numbers and dates.

    Args:
      seed: other examples for another one, of the same numbers and days in each part.
      rows: how many examples each part has.

    Raises:
      InputError: a part has no rows, or there is no such part.
    """
    for part, count in rows.items():
        if part not in _SHARES or count < 1:
            raise InputError(
                f"rows: given {count} of the part {part!r}, expected 1 or more of "
                f"{', '.join(_SHARES)}"
            )
    parts = {}
    for part, count in rows.items():
        sources, targets = zip(*(example(part, seed, index) for index in range(count)), strict=True)
        parts[part] = SentencePairs(sources, targets)
    made = "numbers to English words and dates to ISO 8601, made here"
    return ParallelCorpus("numerals", f"{made}, seed {seed}", parts)


def example(part: str, seed: int, index: int) -> tuple[str, str]:
    """Returns one example and its answer, which follow from the arguments alone.

    Half of the examples are numbers, about equally often of each number of digits that the part
    has; half are dates.
    """
    kind = _hash(f"{part} {seed} {index}") % 2
    for attempt in itertools.count():
        stream = _hash(f"{part} {seed} {index} {attempt}")
        if kind:
            stream, digits = divmod(stream, 6)
            number = stream % 10 ** (digits + 1)
            if _part_of("number", number) == part:
                return str(number), spell_number(number)
        else:
            stream, form = divmod(stream, len(_FORMS))
            days = (_LAST_DAY - _FIRST_DAY).days + 1
            day = _FIRST_DAY + datetime.timedelta(days=stream % days)
            if _part_of("day", day.toordinal()) == part:
                return _FORMS[form](day), day.isoformat()
    raise AssertionError


def spell_number(number: int) -> str:
    """Returns a number in English words, without 'and': 'twenty-one thousand one hundred five'.

    Raises:
      InputError: it is not one from 0 to 999,999.
    """
    if not 0 <= number <= _LARGEST:
        raise InputError(f"number: given {number}, expected 0 to {_LARGEST:,}")
    thousands, rest = divmod(number, 1000)
    words = [f"{_below_1000(thousands)} thousand"] if thousands else []
    if rest or not thousands:
        words.append(_below_1000(rest))
    return " ".join(words)


def ordinal(number: int) -> str:
    """Returns a number from 1 to 31 with the ending of its rank, '3rd'."""
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


def _part_of(kind: str, value: int) -> str:
    if kind == "number" and value < _SMALL:
        return "train"
    place = _hash(f"{kind} {value}") % sum(_SHARES.values())
    for part, share in _SHARES.items():
        if place < share:
            return part
        place -= share
    raise AssertionError(place)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")
