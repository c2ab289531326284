"""The report of a run, with the commands that use its network."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from rnnjax.cells.registry import is_in_package as is_cell_in_package
from rnnjax.config import Config, parse
from rnnjax.errors import InputError
from rnnjax.reporting import run_files, run_report, runs_report
from rnnjax.reporting.atomic_files import write_text
from rnnjax.reporting.run_files import Record
from rnnjax.reporting.run_report import ReportPart
from rnnjax.tasks.registry import find_task, is_in_package
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


def write_report(
    task: type[Task], folder: Path, *, finished: bool = True, output: Path | None = None
) -> Path:
    """Writes the report of a run, and returns its path.

    Args:
      task: as for `render_report`.
      folder: as for `render_report`.
      finished: as for `render_report`.
      output: the file; None for `report.html` in the folder.

    Raises:
      InputError: as `render_report`, or the page cannot be written.
    """
    path = output or folder / run_report.REPORT
    write_text(path, render_report(task, folder, finished=finished))
    return path


def recorded_task(folder: Path) -> type[Task]:
    """Returns the task of a run; the base class where it is code from outside the package.

    Raises:
      InputError: the config is missing or damaged.
    """
    name = run_files.read_config(folder).config.get("task", "")
    return find_task(name) if is_in_package(name) else Task


def replicate_folders(folder: Path) -> list[Path]:
    """Returns the folders of the replicates in that of a run; itself if it has one seed."""
    configs = folder.glob(f"seed-*/{run_files.CONFIG}")
    by_seed = sorted(configs, key=lambda path: int(path.parent.name.partition("-")[2]))
    return [path.parent for path in by_seed] or [folder]


def write_comparison(folders: Sequence[Path], output: Path) -> Path:
    """Writes the page that compares runs, and returns its path.

    Args:
      folders: of two or more runs.
      output: the file.

    Raises:
      InputError: a file of a run is missing or damaged, or the page cannot be written.
    """
    names = runs_report.short_names(folders)
    runs = [_summarize(folder, name) for folder, name in zip(folders, names, strict=True)]
    write_text(output, runs_report.render_runs(" · ".join(names[:4]), runs))
    return output


def write_index(folder: Path, output: Path) -> Path:
    """Writes the index of the runs in a folder, and returns its path.

    Args:
      folder: that holds folders of runs.
      output: the file.

    Raises:
      InputError: there are no runs in it, or the page cannot be written.
    """
    folders = [path for path in runs_report.find_runs(folder) if replicate_folders(path) == [path]]
    if not folders:
        raise InputError(f"{folder}: holds no runs; expected the folder of a run, or of several")
    runs, failures = [], {}
    for path in folders:
        name = path.relative_to(folder).as_posix()
        try:
            runs.append(_summarize(path, name))
        except InputError as error:
            failures[name] = str(error)
    write_text(output, runs_report.render_index(folder, runs, failures))
    return output


def _summarize(folder: Path, name: str) -> runs_report.RunSummary:
    task = recorded_task(folder)
    is_share_of_rows = task.score_unit == "rows"
    return runs_report.summarize(folder, name, task.headline_metrics, is_share_of_rows)


def usage_commands(task: type[Task], config: Config, folder: Path) -> list[tuple[str, str]]:
    """Returns purpose and command line of each command for a trained network."""
    flags = shlex.quote(f"--workdir={folder}")
    if not (is_in_package(config.task) and is_cell_in_package(config.model.cell)):
        flags += " --trust"
    return [
        (purpose, f"python -m rnnjax.{command} {flags} {arguments}".rstrip())
        for purpose, command, arguments in task.commands
    ]
