"""Writes two corrupted copies of AG News, for mistakes in the data.

    python experiments/mistakes/spoil.py ../shared/data/ag_news_csv runs/mistakes-data

`sorted/` has the training rows sorted by class. In `leaked/` a quarter of the test rows replace the
last training rows. The test rows are unchanged.
"""

import csv
import operator
import sys
from pathlib import Path

LEAKED = 1_900


def main(source: Path, target: Path) -> None:
    """Writes both copies."""
    train, test = _read(source / "train.csv"), _read(source / "test.csv")
    copies = {
        "sorted": sorted(train, key=operator.itemgetter(0)),
        "leaked": train[:-LEAKED] + test[:LEAKED],
    }
    for name, rows in copies.items():
        folder = target / name
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
