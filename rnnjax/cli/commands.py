"""The table of commands: `rnnjax NAME` runs the module that stands here.

A module of a command has a docstring, which its `--help` shows, `add_flags(parser)`, and
`main(args)`, which may return an exit status. Nothing is imported before a command is run.
"""

import ast
from pathlib import Path

COMMANDS = {
    "train": "rnnjax.main",
    "plan": "rnnjax.plan",
    "predict": "rnnjax.predict",
    "evaluate": "rnnjax.evaluate",
    "generate": "rnnjax.generate",
    "score": "rnnjax.score",
    "translate": "rnnjax.translate",
    "inspect": "rnnjax.inspect",
    "dynamics": "rnnjax.dynamics.__main__",
    "export": "rnnjax.export",
    "serve": "rnnjax.serve",
    "report": "rnnjax.report",
    "compare": "rnnjax.compare",
    "lint": "rnnjax.lint",
    "experiment": "rnnjax.experiment.__main__",
    "test-cell": "rnnjax.testing.__main__",
    "test-task": "rnnjax.testing.tasks",
}
"""The module of each command, in the order in which they are listed."""

_PACKAGE = Path(__file__).parents[1]


def summary(name: str) -> str:
    """Returns the first line of a command's docstring, read without importing the module."""
    source = _PACKAGE.joinpath(*COMMANDS[name].split(".")[1:]).with_suffix(".py")
    docstring = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]
