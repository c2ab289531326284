"""Shows word by word what happens inside a trained network.

python -m rnnjax.inspect --workdir runs/mine "Alice went home and so did Tom"
cat lines.txt | python -m rnnjax.inspect --workdir runs/mine --output page.html
"""

import sys
from pathlib import Path

from absl import flags

from rnnjax import command
from rnnjax.errors import InputError

_WORKDIR = flags.DEFINE_string("workdir", "", "The folder of the run.")
_OUTPUT = flags.DEFINE_string("output", "", "The page; by default inspect.html in that folder.")


def main(texts: list[str]) -> None:
    """Writes a page about texts, the lines of standard input without any."""
    from rnnjax.reporting.files import write_text
    from rnnjax.reporting.inside import render
    from rnnjax.training import TrainedRun, look

    workdir = Path(_WORKDIR.value)
    path = Path(_OUTPUT.value) if _OUTPUT.value else workdir / "inspect.html"
    if _OUTPUT.value and not path.parent.is_dir():
        raise InputError(f"--output={path}: there is no folder {path.parent}; make it, then repeat")
    run = TrainedRun.load(workdir)
    if not texts and sys.stdin.isatty():
        print("reading texts from standard input, one a line", file=sys.stderr)
    accounts = look(run, texts or list(command.lines()))
    given = run.config.model
    cell = f"{given.cell}, {given.features} features"
    name = workdir.resolve().name
    write_text(path, render(accounts, name=name, cell=cell, fallback=run.fallback))
    print(path)


if __name__ == "__main__":
    command.run(main, required=["workdir"])
