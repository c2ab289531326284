"""Checkpoints: saved synchronously, and verified by checksum when they are restored."""

import contextlib
import io
import re
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp

from rnnjax import paths
from rnnjax.errors import InputError
from rnnjax.input_files import explain
from rnnjax.interrupt import deferred_signals
from rnnjax.reporting import record_digest
from rnnjax.reporting.progress import write_message
from rnnjax.training.global_arrays import replicate, to_host
from rnnjax.training.processes import (
    check_equal,
    gather,
    is_connection_error,
    is_first,
    wait_for_all,
)

Tree = TypeVar("Tree")


class Owner(NamedTuple):
    """The run that checkpoints belong to.

    Attributes:
      run: its name in the manifest.
      seed: of its config.
    """

    run: str = ""
    seed: int = 0


class Checkpoints:
    """The checkpoints of a run: arrays with their run, seed, step, dtypes, shapes and checksums.

    Signals that arrive while orbax reads or writes are delivered when it is done.
    """

    @deferred_signals()
    def __init__(self, folder: Path, keep: int = 2, owner: Owner | None = None):
        """Opens the folder, which need not be there.

        Args:
          folder: of the checkpoints.
          keep: number of newest checkpoints that are not deleted.
          owner: the run that they belong to; None for a run without a name.
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
        except (ValueError, ArithmeticError) as error:  # an invalid time in orbax's metadata
            raise InputError(
                f"{folder}: a checkpoint is damaged ({_reason(error)}); look at the files "
                "_CHECKPOINT_METADATA in it, and delete or bring back the folder of the damaged one"
            ) from error

    @property
    def steps(self) -> list[int]:
        """The steps of the checkpoints, in rising order."""
        return sorted(self._manager.all_steps())

    @deferred_signals()
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

    @deferred_signals()
    def save(self, step: int, tree: Any, metrics: Sequence[Mapping[str, str]] = ()) -> None:
        """Saves a checkpoint to the disk, and replaces an earlier one of the same step.

        Args:
          step: of the checkpoint.
          tree: arrays.
          metrics: digests of the metrics of each seed up to the step.

        Raises:
          InputError: it cannot be written; earlier checkpoints are unchanged.
        """
        earlier: list[int] = []
        tree = replicate(tree)
        record = self._describe(step, tree, metrics)
        check_equal(
            {f"{path} after step {step}": sums for path, sums in record["arrays"].items()},
            "Their processors round differently, or their sums were lost on the way: this state "
            "is not saved",
        )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            earlier = [saved for saved in self.steps if saved != step]
            with _without_tracebacks():
                if step in self.steps:
                    self._manager.delete(step)
                self._manager.save(
                    step,
                    args=ocp.args.Composite(
                        arrays=ocp.args.PyTreeSave(tree),
                        checksums=ocp.args.JsonSave(record),
                    ),
                    force=True,
                )
                self._manager.wait_until_finished()
        except Exception as error:
            cause, remedy = explain(error)
            cause = self._restore_path(cause)
            start = "goes on from the checkpoint before" if earlier else "begins again"
            raise InputError(
                f"{self.folder}: the checkpoint of step {step} could not be saved ({cause}); "
                f"{remedy}, then repeat the command: the run {start}"
            ) from error

    @deferred_signals()
    def restore(self, template: Tree, repair: bool = False) -> tuple[int, Tree] | None:
        """Returns step and arrays of the newest undamaged checkpoint; None if there is none.

        A damaged checkpoint is reported, and the previous one is restored.

        Args:
          template: a pytree of arrays, of the shapes and dtypes to restore. With part of the saved
            tree (a dict with some of the entries), that part is restored.
          repair: repair the folder, which the process must have locked: rename damaged checkpoints
            to `damaged-STEP`, so that the run can save these steps again, and delete those that a
            killed process did not finish saving or deleting.

        Raises:
          InputError: there are checkpoints, and all are damaged.
        """
        if repair and is_first():
            for unfinished in self.folder.glob("*.orbax-checkpoint-tmp"):
                if unfinished.is_dir() and not unfinished.is_symlink():
                    shutil.rmtree(unfinished)
        damaged: dict[int, str] = {}
        for step in reversed(self.steps):
            tree, reason = template, ""
            try:
                tree = self._read(step, template)
            except jax.errors.JaxRuntimeError:
                raise  # an error of the device, not of the file
            except Exception as error:
                if is_connection_error(error):
                    raise
                reason = self._restore_path(_reason(error))
            if reason := next(filter(None, gather(reason)), ""):  # of any process
                damaged[step] = reason
                continue
            for failed, reason in damaged.items():
                write_message(
                    f"WARNING: {self.folder}: the checkpoint of step {failed} is damaged "
                    f"({reason}); that of step {step} is used"
                )
                if repair and is_first():
                    self._set_aside(failed)
            if repair and damaged:
                wait_for_all()
                self._manager.reload()
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

    @deferred_signals()
    def metrics_digests(self, step: int) -> list[dict[str, str]]:
        """Returns the digests of metrics in the checkpoint of a step, which has been restored."""
        args = ocp.args.Composite(checksums=ocp.args.JsonRestore())
        return self._manager.restore(step, args=args)["checksums"]["metrics"]

    def _set_aside(self, step: int) -> None:
        target, number = self.folder / f"damaged-{step}", 1
        while target.exists() or target.is_symlink():
            number += 1
            target = self.folder / f"damaged-{step}-{number}"
        (self.folder / str(step)).rename(target)

    def _describe(
        self, step: int, tree: Any, metrics: Sequence[Mapping[str, str]]
    ) -> dict[str, Any]:
        """Returns the record that identifies a checkpoint, with its digest."""
        arrays = {
            path: [*_signature(leaf), zlib.crc32(to_host(leaf).tobytes())]
            for path, leaf in _leaves(tree)
        }
        owner = self._owner._asdict()
        return record_digest.with_digest(
            {**owner, "step": step, "metrics": [*map(dict, metrics)], "arrays": arrays}
        )

    def _restore_path(self, message: str) -> str:
        """Returns a message of orbax with the folder's path instead of its link's."""
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
            if zlib.crc32(to_host(leaf).tobytes()) != saved["arrays"][path][2]:
                raise ValueError(f"the array {path} is not what was saved")
            if path == "step" and np.any(np.asarray(leaf) != step):
                raise ValueError(f"its state is of step {np.max(leaf)}")
        return arrays

    def _verify_owner(self, step: int, saved: Any) -> None:
        """Raises ValueError unless a checkpoint was saved by this run, as that of this step."""
        if not isinstance(saved, dict) or not record_digest.has_valid_digest(saved):
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
                f"{path}: is no regular file; bring the file of the checkpoint back from a copy, "
                "or delete the folder of its step"
            )


@contextlib.contextmanager
def _without_tracebacks() -> Iterator[None]:
    """Suppresses tracebacks of other arrays, pending when the first one has failed.

    Orbax raises at the first error and closes its event loop. Whenever a pending array is done,
    soon or late, tensorstore then reports an unraisable error of that loop.
    """
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            yield
        except Exception:
            if not isinstance(sys.unraisablehook, _HookWithoutClosedLoops):
                sys.unraisablehook = _HookWithoutClosedLoops(sys.unraisablehook)
            raise


class _HookWithoutClosedLoops:
    """An unraisable hook that drops reports to an event loop that is closed."""

    def __init__(self, hook: Callable[[Any], None]):
        self._hook = hook

    def __call__(self, unraisable: Any) -> None:
        is_closed = isinstance(unraisable.exc_value, RuntimeError)
        if not is_closed or str(unraisable.exc_value) != "Event loop is closed":
            self._hook(unraisable)


def _reason(error: Exception) -> str:
    """Returns the system's error, or the start of a message that may contain whole arrays."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # The text of a KeyError has quotation marks around it.
    text = str(error.args[0] if error.args else error).strip().split("\n")[0]
    system = re.search(r"([^:]+) \[os_error_code=", text)
    return system[1].strip() if system else text[:200]
