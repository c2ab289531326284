"""Scores a trained network on a file in the original layout of AG News.

python -m rnnjax.evaluate --workdir runs/mine --data test.csv
"""

import json
from pathlib import Path

import numpy as np
from absl import flags

from rnnjax import command
from rnnjax.errors import InputError

_WORKDIR = flags.DEFINE_string("workdir", "", "The folder of the run.")
_DATA = flags.DEFINE_string("data", "", 'A CSV file of "class","title","description", no header.')


def main(arguments: list[str]) -> None:
    """Prints loss, accuracy, macro-F1 and rows as JSON."""
    if arguments:
        raise InputError(f"given {arguments[0]!r}, expected flags alone (--workdir, --data)")
    from rnnjax.data.corpora import read_csv
    from rnnjax.tasks import scores
    from rnnjax.training import TrainedClassifier

    run = TrainedClassifier.load(Path(_WORKDIR.value))
    rows = list(read_csv(Path(_DATA.value), run.classes))
    labels = np.array([row.label for row in rows], np.int32)
    fields = run.config.data.text.split("+")
    texts = [" ".join(getattr(row, field) for field in fields) for row in rows]
    print(json.dumps(scores.summary(labels, run.evaluate(texts, labels)), indent=2))


if __name__ == "__main__":
    command.run(main, required=["workdir", "data"])
