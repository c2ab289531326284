"""The report of a run, with the commands that use its network."""

import shlex
from pathlib import Path

from rnnjax.cells.registry import is_in_package as is_cell_in_package
from rnnjax.config import Config, parse
from rnnjax.reporting import run_files, run_report
from rnnjax.reporting.atomic_files import write_text
from rnnjax.reporting.run_files import Record
from rnnjax.reporting.run_report import ReportPart
from rnnjax.tasks.registry import is_in_package
from rnnjax.tasks.task import Task


def render_report(task: type[Task], folder: Path, *, finished: bool = True) -> str:
    """Returns the report of a run, a page of HTML.

    Args:
      task: of the run.
      folder: of the run, as the commands on the page name it.
      finished: whether the run has a result; the page of an interrupted one says so, and has no
        scores.

    Raises:
      InputError: a file of the run is missing or damaged.
    """
    run, part = _read(task, folder, finished)
    config = parse(run.config.config, f"{folder / run_files.CONFIG}: config", trust=False)
    commands = usage_commands(task, config, folder)
    return run_report.render(run, folder, part, commands)


def render_card(task: type[Task], folder: Path, *, finished: bool = True) -> str:
    """Returns headline and curves of a run as a piece of HTML, for a notebook.

    Args:
      task: as for `render_report`.
      folder: as for `render_report`.
      finished: as for `render_report`.

    Raises:
      InputError: as of `render_report`.
    """
    return run_report.render_card(*_read(task, folder, finished))


def _read(task: type[Task], folder: Path, finished: bool) -> tuple[Record, ReportPart]:
    """Returns the files of a run, and its task's part of the report."""
    if finished:
        run = run_files.read(folder)
        return run, task.report(run)
    run = run_files.read_unfinished(folder)
    return run, ReportPart.of_unfinished(run)


def write_report(task: type[Task], folder: Path, *, finished: bool = True) -> Path:
    """Writes `report.html` into the folder of a run, and returns its path.

    Args:
      task: as for `render_report`.
      folder: as for `render_report`.
      finished: as for `render_report`.

    Raises:
      InputError: as `render_report`, or the page cannot be written.
    """
    path = folder / run_report.REPORT
    write_text(path, render_report(task, folder, finished=finished))
    return path


def usage_commands(task: type[Task], config: Config, folder: Path) -> list[tuple[str, str]]:
    """Returns purpose and command line of each command for a trained network."""
    flags = shlex.quote(f"--workdir={folder}")
    if not (is_in_package(config.task) and is_cell_in_package(config.model.cell)):
        flags += " --trust"
    return [
        (purpose, f"python -m rnnjax.{command} {flags} {arguments}".rstrip())
        for purpose, command, arguments in task.commands
    ]
