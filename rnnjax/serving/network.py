"""The network of a server: that of a run, or of an exported folder."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rnnjax.errors import InputError
from rnnjax.exporting.importing import import_run
from rnnjax.reporting.atomic_files import to_builtin
from rnnjax.tasks.sampling import GenerationOptions
from rnnjax.tasks.trained_run import TrainedRun
from rnnjax.training import load_run

_EXPORTED = "fingerprints.json"
"""A file of every exported folder, and of no run."""


class ServedNetwork(NamedTuple):
    """A network that answers texts.

    Attributes:
      name: of its folder.
      task: its name.
      answer: from texts to their answers, ready for JSON, which do not depend on one another.
      generate: from a prompt, a length and options to the pieces of a text.
    """

    name: str
    task: str
    answer: Callable[[list[str]], list[Any]]
    generate: Callable[[str, int, GenerationOptions], Iterator[str]]


def load_network(folder: Path, trust: bool = False) -> ServedNetwork:
    """Returns the network of a folder.

    Args:
      folder: of a run, or an exported one, of which no code is run.
      trust: as for `load_run`.

    Raises:
      InputError: it is neither, a file is damaged, or the network reads no text.
    """
    if (folder / _EXPORTED).exists():
        return serve_exported(folder)
    return serve_run(load_run(folder, trust))


def serve_run(run: TrainedRun) -> ServedNetwork:
    """Returns the network of a trained run.

    Raises:
      InputError: it reads no text.
    """
    assert run.text_vocabulary  # raises if there is none
    return ServedNetwork(
        run.folder.resolve().name,
        run.config.task,
        lambda texts: to_builtin(run.answers(texts)),
        run.generate,
    )


def serve_exported(folder: Path) -> ServedNetwork:
    """Returns the network of an exported folder, computed by the program of this package.

    Raises:
      InputError: a file is missing or altered, or the network reads no text.
    """
    program = import_run()
    try:
        model = program.Model(folder)
    except program.DamagedFolderError as error:
        raise InputError(f"{folder}: {error}; export the run again") from None
    name, task = folder.resolve().name, model.description["task"]
    if not (folder / program.TOKENIZER).exists():
        raise InputError(f"{folder}: its task is {task}, which reads no text; serve another one")

    def generate(prompt: str, length: int, options: GenerationOptions) -> Iterator[str]:
        raise InputError(f"{name} is an exported folder, which generates no text; serve its run")

    return ServedNetwork(name, task, lambda texts: list(model.answers(texts)), generate)
