"""Writes two spoilt copies of AG News, for the mistakes that are made in data.

    python experiments/mistakes/spoil.py ../shared/data/ag_news_csv runs/mistakes-data

`sorted/` has the training rows in the order of their classes. `leaked/` has a quarter of the test
rows among the training rows, in the place of the last of them. The test rows stay as they are.
"""

import csv
import operator
import sys
from pathlib import Path

LEAKED = 1_900


def main(news: Path, spoilt: Path) -> None:
    """Writes both copies of a folder of news."""
    train, test = _read(news / "train.csv"), _read(news / "test.csv")
    copies = {
        "sorted": sorted(train, key=operator.itemgetter(0)),
        "leaked": train[:-LEAKED] + test[:LEAKED],
    }
    for name, rows in copies.items():
        folder = spoilt / name
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / "train.csv", rows)
        _write(folder / "test.csv", test)


def _read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def _write(path: Path, rows: list[list[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
