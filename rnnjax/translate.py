"""Translates texts with a trained network.

python -m rnnjax.translate --workdir runs/mine "40712" "Mar 3, 1998"
cat lines.txt | python -m rnnjax.translate --workdir runs/mine --attention
"""

from pathlib import Path

from absl import flags

from rnnjax import command
from rnnjax.console import write_output

_WORKDIR = command.define_path("workdir", "", "The folder of the run.")
_TRUST = command.define_trust()
_BEAM = flags.DEFINE_integer(
    "beam", 0, "Texts that are looked at side by side; 0 for as many as the run does."
)
_ATTENTION = flags.DEFINE_bool(
    "attention", False, "Print as well where the network looked when it wrote each token."
)

_SHOWN = 40


def main(texts: list[str]) -> None:
    """Prints the translation of each text, of the lines of standard input without any."""
    from rnnjax.reporting.progress import write_message
    from rnnjax.reporting.templates import visible
    from rnnjax.training import TrainedTranslator

    run = TrainedTranslator.load(Path(_WORKDIR.value), _TRUST.value)
    for chunk in command.texts(texts):
        shares = run.vocabulary.unknown_shares(chunk)
        doubtful = [text for text, share in zip(chunk, shares, strict=True) if share]
        if doubtful:
            write_message(
                f"WARNING: {len(doubtful)} of {len(chunk)} texts are empty or have tokens that the "
                f"network does not know, {doubtful[0][:_SHOWN]!r} is the first of them: do not "
                f"trust their translations{run.vocabulary.advise_unicode_form(chunk)}"
            )
        for written in run.translate(chunk, _BEAM.value):
            write_output(written.text)
            for token, share, source in written.looked if _ATTENTION.value else []:
                write_output(f"  {visible(token):<12}  {share:.2f}  {visible(source)}")


if __name__ == "__main__":
    command.run(main, required=["workdir"])
