"""The overview that `rnnjax` prints: its commands, and the configs with their recorded results."""

import shutil
import textwrap
from collections.abc import Iterable, Sequence

from rnnjax.cli.commands import COMMANDS, summary
from rnnjax.config.catalog import config_names, find_config, read_docstring, recorded_result

_WIDEST = 120
_NARROWEST = 20


def overview() -> str:
    """Returns the commands and the configs, a line each, under headings."""
    commands = [[name, summary(name)] for name in COMMANDS]
    configs = [["config", "recorded test score", "time", ""], *map(_config_row, config_names())]
    return "\n".join(
        [
            "usage: rnnjax COMMAND [flags]",
            "",
            "commands (`rnnjax COMMAND --help` lists the flags of one):",
            *_aligned(commands),
            "",
            "configs (`rnnjax train --config NAME`), with mean ± standard deviation over seeds and "
            "median training time:",
            *_aligned(configs),
        ]
    )


def _config_row(name: str) -> list[str]:
    result = recorded_result(name)
    score = f"{result.metric} {result.score}" if result else ""
    title = read_docstring(find_config(name)).partition("\n")[0]
    return [name, score, result.duration if result else "", title]


def _aligned(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    room = shutil.get_terminal_size((_WIDEST, 0)).columns - sum(widths[:-1]) - 2 * len(widths)
    for *cells, text in rows:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=False))
        shortened = textwrap.shorten(text, max(room, _NARROWEST), placeholder=" …")
        yield "  ".join(["", *padded, shortened]).rstrip()
