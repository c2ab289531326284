"""Writes on from a prompt with a trained language model, and shows the text as it is made.

python -m rnnjax.generate --workdir runs/mine --prompt "ROMEO:" --length 500
"""

from pathlib import Path

from absl import flags

from rnnjax import command
from rnnjax.console import write_output
from rnnjax.errors import InputError

_WORKDIR = command.define_path("workdir", "", "The folder of the run.")
_TRUST = command.define_trust()
_PROMPT = flags.DEFINE_string("prompt", "", "What the text begins with.")
_LENGTH = flags.DEFINE_integer("length", 500, "Most tokens to write; the text may end before.")
_TEMPERATURE = flags.DEFINE_float(
    "temperature", 1.0, "Scores are divided by it: less is safer, 0 takes the most probable token."
)
_TOP_K = flags.DEFINE_integer("top_k", 0, "Choose from so many most probable tokens; 0 for all.")
_TOP_P = flags.DEFINE_float(
    "top_p", 1.0, "Choose from the most probable tokens of together this probability; 1 for all."
)
_SEED = flags.DEFINE_integer("seed", 0, "The same seed writes the same text.")


def main(arguments: list[str]) -> None:
    """Prints the prompt and what comes after it."""
    if arguments:
        raise InputError(f"given {arguments[0]!r}, expected flags alone (--workdir, --prompt ...)")
    from rnnjax.reporting.progress import write_message
    from rnnjax.tasks.sampling import SamplingOptions
    from rnnjax.training import TrainedLanguageModel

    choice = SamplingOptions(_TEMPERATURE.value, _TOP_K.value, _TOP_P.value, _SEED.value)
    run = TrainedLanguageModel.load(Path(_WORKDIR.value), _TRUST.value)
    (share,) = run.vocabulary.unknown_shares([_PROMPT.value])
    if _PROMPT.value and share:
        advice = run.vocabulary.advise_unicode_form([_PROMPT.value])
        write_message(
            f"WARNING: {share:.1%} of the tokens of the prompt are unknown to the network, which "
            f"reads all of them as one and the same{advice}"
        )
    pieces = run.generate(_PROMPT.value, _LENGTH.value, choice)
    first = next(pieces, "")  # what is wrong is said before anything is printed
    write_output(_PROMPT.value + first, end="")
    for piece in pieces:
        write_output(piece, end="")
    write_output("")


if __name__ == "__main__":
    command.run(main, required=["workdir"])
