"""Translates texts with a trained network.

python -m rnnjax.translate --workdir runs/mine "40712" "Mar 3, 1998"
cat lines.txt | python -m rnnjax.translate --workdir runs/mine --attention
"""

from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from rnnjax import command

if TYPE_CHECKING:
    from rnnjax.tasks.translating import Written

_WORKDIR = flags.DEFINE_string("workdir", "", "The folder of the run.")
_BEAM = flags.DEFINE_integer(
    "beam", 0, "Texts that are looked at side by side; 0 for as many as the run does."
)
_ATTENTION = flags.DEFINE_bool(
    "attention", False, "Print as well where the network looked when it wrote each token."
)


def main(texts: list[str]) -> None:
    """Prints the translation of each text, of the lines of standard input without any."""
    from rnnjax.training import TrainedTranslator

    run = TrainedTranslator.load(Path(_WORKDIR.value))
    for chunk, error in command.texts(texts):
        for written in run.translate(chunk, _BEAM.value) if chunk else []:
            print(written.text, flush=True)
            if _ATTENTION.value:
                print(*_looked(written), sep="\n", flush=True)
        if error:
            raise error


def _looked(written: "Written") -> list[str]:
    """Returns a line for each token written: where the network looked most, and how much."""
    from rnnjax.reporting.page import visible

    if not written.read:
        return []
    width = max(map(len, written.written))
    return [
        f"  {visible(token):<{width}}  {row.max():.2f}  {visible(written.read[row.argmax()])}"
        for token, row in zip(written.written, written.attention, strict=True)
    ]


if __name__ == "__main__":
    command.run(main, required=["workdir"])
