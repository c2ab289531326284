"""Shows word by word what happens inside a trained network.

python -m rnnjax.inspect --workdir runs/mine "Alice went home and so did Tom"
cat lines.txt | python -m rnnjax.inspect --workdir runs/mine --output page.html
"""

from pathlib import Path

from rnnjax import command
from rnnjax.console import write_output
from rnnjax.errors import InputError

_WORKDIR = command.define_path("workdir", "", "The folder of the run.")
_TRUST = command.define_trust()
_OUTPUT = command.define_path("output", "", "The page; by default inspect.html in that folder.")


def main(texts: list[str]) -> None:
    """Writes a page about texts, the lines of standard input without any."""
    from rnnjax.reporting.atomic_files import write_text
    from rnnjax.reporting.inspection_page import render
    from rnnjax.training import inspect_texts, load_run

    workdir = Path(_WORKDIR.value)
    path = Path(_OUTPUT.value) if _OUTPUT.value else workdir / "inspect.html"
    if _OUTPUT.value and not path.parent.is_dir():
        raise InputError(f"--output={path}: there is no folder {path.parent}; make it, then repeat")
    run = load_run(workdir, _TRUST.value)
    accounts = inspect_texts(run, [text for chunk in command.texts(texts) for text in chunk])
    given = run.config.model
    cell = f"{given.cell}, {given.features} features"
    name = workdir.resolve().name
    write_text(path, render(accounts, name=name, cell=cell, fallback=run.fallback))
    write_output(str(path))


if __name__ == "__main__":
    command.run(main, required=["workdir"])
