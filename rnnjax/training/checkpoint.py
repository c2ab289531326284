"""Checkpoints, saved while the training waits and checked when they are read."""

import contextlib
import io
import re
import shutil
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp

from rnnjax import paths
from rnnjax.errors import InputError
from rnnjax.files import explain
from rnnjax.reporting import seal
from rnnjax.reporting.progress import say

Tree = TypeVar("Tree")

_ON_THE_WAY = 0.1
"""Seconds."""


class Owner(NamedTuple):
    """The run that checkpoints belong to.

    Attributes:
      run: its name in the manifest.
      seed: of its config.
    """

    run: str = ""
    seed: int = 0


class Checkpoints:
    """The checkpoints of a run: arrays with their run, seed, step, dtypes, shapes and checksums."""

    def __init__(self, folder: Path, keep: int = 2, owner: Owner | None = None):
        """Opens the folder, which need not be there.

        Args:
          folder: where they are.
          keep: newest ones kept.
          owner: the run whose they are; None for the run without a name.
        """
        self.folder = folder
        self._keep = keep
        self._owner = owner or Owner()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, enable_async_checkpointing=False, create=False
        )
        self._directory = paths.without_special_characters(folder.absolute(), self)
        _require_regular_files(folder)
        try:
            self._manager = ocp.CheckpointManager(self._directory, options=options)
        except (ValueError, ArithmeticError) as error:  # a time of orbax's that is none
            raise InputError(
                f"{folder}: a checkpoint is damaged ({_reason(error)}); look at the files "
                "_CHECKPOINT_METADATA in it, and delete or bring back the folder of the damaged one"
            ) from error

    @property
    def steps(self) -> list[int]:
        """The steps of which there is a checkpoint, rising."""
        return sorted(self._manager.all_steps())

    def shapes(self) -> dict[str, Any]:
        """Returns shapes and dtypes of the newest checkpoint, as nested dicts to restore by.

        Raises:
          InputError: the checkpoint is damaged.
        """
        if not self.steps:
            return {}
        try:
            handler: Any = ocp.PyTreeCheckpointHandler()
            folder = self._manager.directory / str(self.steps[-1]) / "arrays"
            saved = handler.metadata(folder).tree
            return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), saved)
        except Exception as error:
            raise InputError(
                f"{self.folder}: the checkpoint of step {self.steps[-1]} is damaged "
                f"({_reason(error)}); bring it back from a copy"
            ) from error

    def save(self, step: int, tree: Any, metrics: Sequence[Mapping[str, str]] = ()) -> None:
        """Returns when the checkpoint is on the disk, in the place of another of that step.

        Args:
          step: of the checkpoint.
          tree: arrays.
          metrics: digests of the metrics of each seed up to the step.

        Raises:
          InputError: it cannot be written; those before it are as they were.
        """
        others: list[int] = []
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            others = [each for each in self.steps if each != step]
            with _without_tracebacks():
                if step in self.steps:
                    self._manager.delete(step)
                self._manager.save(
                    step,
                    args=ocp.args.Composite(
                        arrays=ocp.args.PyTreeSave(tree),
                        checksums=ocp.args.JsonSave(self._describe(step, tree, metrics)),
                    ),
                    force=True,
                )
                self._manager.wait_until_finished()
        except Exception as error:
            cause, remedy = explain(error)
            cause = self._with_own_path(cause)
            start = "goes on from the checkpoint before" if others else "begins again"
            raise InputError(
                f"{self.folder}: the checkpoint of step {step} could not be saved ({cause}); "
                f"{remedy}, then repeat the command: the run {start}"
            ) from error

    def restore(self, template: Tree, repair: bool = False) -> tuple[int, Tree] | None:
        """Returns step and content of the newest checkpoint that is whole; None if there is none.

        A damaged one is reported and the one before it is taken.

        Args:
          template: a pytree of arrays, of the shapes and dtypes to read. Where it has part of what
            was saved (a dict with some of the entries), that part is read.
          repair: mend the folder, in which nobody else may be at work: set those passed over aside,
            as `damaged-STEP`, so that the run can save those steps again, and delete what a killed
            process had not finished saving or deleting.

        Raises:
          InputError: there are checkpoints, and all are damaged.
        """
        if repair:
            for unfinished in self.folder.glob("*.orbax-checkpoint-tmp"):
                if unfinished.is_dir() and not unfinished.is_symlink():
                    shutil.rmtree(unfinished)
        damaged: dict[int, str] = {}
        for step in reversed(self.steps):
            try:
                tree = self._read(step, template)
            except jax.errors.JaxRuntimeError:
                raise  # of the device, of which the file knows nothing
            except Exception as error:
                damaged[step] = self._with_own_path(_reason(error))
                continue
            for each, reason in damaged.items():
                say(
                    f"WARNING: {self.folder}: the checkpoint of step {each} is damaged ({reason}); "
                    f"that of step {step} is used"
                )
                if repair:
                    self._set_aside(each)
            if repair:
                for old in self.steps[: -self._keep]:
                    self._manager.delete(old)
            return step, tree
        if damaged:
            steps = ", ".join(map(str, sorted(damaged)))
            raise InputError(
                f"{self.folder}: every checkpoint is damaged (steps {steps}; of the newest: "
                f"{next(iter(damaged.values()))}); bring one back from a copy, or delete the run's "
                "folder and train again"
            )
        return None

    def metrics_digests(self, step: int) -> list[dict[str, str]]:
        """Returns the digests of metrics that a checkpoint which `restore` took was saved with."""
        args = ocp.args.Composite(checksums=ocp.args.JsonRestore())
        return self._manager.restore(step, args=args)["checksums"]["metrics"]

    def _set_aside(self, step: int) -> None:
        aside, others = self.folder / f"damaged-{step}", 1
        while aside.exists() or aside.is_symlink():
            others += 1
            aside = self.folder / f"damaged-{step}-{others}"
        (self.folder / str(step)).rename(aside)
        self._manager.reload()

    def _describe(
        self, step: int, tree: Any, metrics: Sequence[Mapping[str, str]]
    ) -> dict[str, Any]:
        """Returns what tells a checkpoint from any other, sealed."""
        arrays = {
            path: [*_signature(leaf), zlib.crc32(np.asarray(leaf).tobytes())]
            for path, leaf in _leaves(tree)
        }
        about = {**self._owner._asdict(), "step": step, "metrics": [*map(dict, metrics)]}
        return seal.sealed({**about, "arrays": arrays})

    def _with_own_path(self, message: str) -> str:
        return message.replace(str(self._directory), str(self.folder))

    def _read(self, step: int, template: Tree) -> Tree:
        args = ocp.args.Composite(checksums=ocp.args.JsonRestore())
        with _without_tracebacks():
            saved = self._manager.restore(step, args=args)["checksums"]
        self._verify_owner(step, saved)
        for path, leaf in _leaves(template):
            signature = saved["arrays"].get(path, [])[:2]
            if signature != _signature(leaf):
                raise ValueError(
                    f"the array {path} is {_in_words(signature)}, expected "
                    f"{_in_words(_signature(leaf))}"
                )
        args = ocp.args.Composite(
            arrays=ocp.args.PyTreeRestore(
                template,
                restore_args=ocp.checkpoint_utils.construct_restore_args(template),
                partial_restore=True,
            ),
        )
        with _without_tracebacks():
            arrays = self._manager.restore(step, args=args)["arrays"]
        for path, leaf in _leaves(arrays):
            if zlib.crc32(np.asarray(leaf).tobytes()) != saved["arrays"][path][2]:
                raise ValueError(f"the array {path} is not what was saved")
            if path == "step" and np.any(np.asarray(leaf) != step):
                raise ValueError(f"its state is of step {np.max(leaf)}")
        return arrays

    def _verify_owner(self, step: int, saved: Any) -> None:
        """Raises ValueError unless a checkpoint was saved by this run, as that of this step."""
        if not isinstance(saved, dict) or not seal.is_whole(saved):
            raise ValueError("its checksums are not what was saved")
        if saved["run"] != self._owner.run:
            raise ValueError("it was saved by another run")
        if saved["seed"] != self._owner.seed:
            raise ValueError(
                f"it was saved with the seed {saved['seed']}, and the run has {self._owner.seed}"
            )
        if saved["step"] != step:
            raise ValueError(f"it was saved as that of step {saved['step']}")


def _leaves(tree: Any) -> Iterator[tuple[str, Any]]:
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        yield jax.tree_util.keystr(path, simple=True, separator="/"), leaf


def _signature(leaf: Any) -> list[Any]:
    return [str(leaf.dtype), list(leaf.shape)]


def _in_words(signature: list[Any]) -> str:
    return f"{signature[0]}{signature[1]}" if signature else "not there"


def _require_regular_files(folder: Path) -> None:
    """Refuses devices, pipes and links to them, which orbax would read without an end."""
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.exists() and not path.is_dir() and not path.is_file():
            raise InputError(
                f"{path}: is no regular file; bring the file of the checkpoint back from a copy, or "
                "delete the folder of its step"
            )


@contextlib.contextmanager
def _without_tracebacks() -> Iterator[None]:
    """Keeps to itself what tensorstore prints of other arrays when one cannot be read or written.

    They are still on the way when the error of the first has come.
    """
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            yield
        except Exception:
            time.sleep(_ON_THE_WAY)
            raise


def _reason(error: Exception) -> str:
    """Returns what the system said, or the beginning of a message that may hold whole arrays."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # Of a KeyError the text has quotation marks around it.
    text = str(error.args[0] if error.args else error).strip().split("\n")[0]
    system = re.search(r"([^:]+) \[os_error_code=", text)
    return system[1].strip() if system else text[:200]
