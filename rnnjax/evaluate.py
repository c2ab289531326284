"""Scores a trained network on another file.

python -m rnnjax.evaluate --workdir runs/mine --data test.csv
python -m rnnjax.evaluate --workdir runs/play --data another_play.txt
"""

from pathlib import Path

from rnnjax import command
from rnnjax.console import write_output
from rnnjax.errors import InputError
from rnnjax.reporting.atomic_files import encode_json

_WORKDIR = command.define_path("workdir", "", "The folder of the run.")
_TRUST = command.define_trust()
_DATA = command.define_path(
    "data",
    "",
    'Of a classifier, a CSV file of "class","title","description", no header; of a language model, '
    "a text file.",
)


def main(arguments: list[str]) -> None:
    """Prints the scores and the number of rows as JSON."""
    if arguments:
        raise InputError(f"given {arguments[0]!r}, expected flags alone (--workdir, --data)")
    from rnnjax.training import load_run
    from rnnjax.training.finite import check_scores

    run = load_run(Path(_WORKDIR.value), _TRUST.value)
    scores = run.score(Path(_DATA.value))
    check_scores(scores, _DATA.value)
    write_output(encode_json(scores, indent=2))


if __name__ == "__main__":
    command.run(main, required=["workdir", "data"])
