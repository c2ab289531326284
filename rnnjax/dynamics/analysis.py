"""The analysis of a trained run: every quantity of every recurrent layer."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Int

from rnnjax.data.vocabulary import PADDING, UNKNOWN
from rnnjax.dynamics.fixed_points import MAX_SIZE, Point, find_points
from rnnjax.dynamics.gates import UnitStatistics, unit_statistics
from rnnjax.dynamics.gradients import gradient_reach
from rnnjax.dynamics.lyapunov import lyapunov_spectrum
from rnnjax.dynamics.padding import token_padding_decay
from rnnjax.dynamics.plane import project_states
from rnnjax.dynamics.probes import Features, probe_class, probe_words
from rnnjax.dynamics.runs import (
    ROWS,
    PaddedExamples,
    initial_params,
    load_dataset,
    take_examples,
    trace_batch,
)
from rnnjax.dynamics.trajectory import Trajectory, state_vectors
from rnnjax.errors import InputError
from rnnjax.reporting import dynamics_page
from rnnjax.reporting.progress import Progress
from rnnjax.reporting.templates import notebook_frame
from rnnjax.tasks.token_task import TokenTask
from rnnjax.tasks.trained_run import TrainedRun

_TRAIN_ROWS, _TEST_ROWS = 1024, 512
"""Sequences of the probes, fewer where their states are large."""
_MAX_NUMBERS = 2**25
"""Of all states of the sequences of the probes."""
_WORDS = 5
_MAX_CLASSES = 8
_EIGENVALUES = 8
_POINTS = 12
_STAGES = 5


@dataclasses.dataclass(frozen=True)
class Dynamics:
    """The dynamics of the recurrent layers of a run.

    Attributes:
      values: every number, ready for JSON.
    """

    values: dict[str, Any]

    def html(self) -> str:
        """Returns a page that shows them."""
        return dynamics_page.render(self.values)

    def _repr_html_(self) -> str:
        """Returns the page in a frame, which a notebook shows."""
        return notebook_frame(self.html())


def analyze(run: TrainedRun, layer: int = 0) -> Dynamics:
    """Analyzes the dynamics of the recurrent layers of a run on its own data.

    Args:
      run: as `rnnjax.load` or `rnnjax.fit` returns it.
      layer: number of one layer, from 1; 0 for all.

    Raises:
      InputError: the network of the run has no layer of that number, or no recurrent layer over
        whole sequences, or the data of the run is not available.
    """
    layers_of_run = run.config.model.layers
    if not 0 <= layer <= layers_of_run:
        raise InputError(
            f"--layer={layer}: the config of the run has model.layers={layers_of_run}; expected a "
            f"number from 1 to {layers_of_run}, or 0 for all layers"
        )
    dataset = load_dataset(run)
    test = take_examples(run, dataset.test, _TEST_ROWS)
    trajectories = _select_layer(trace_batch(run, test.batch), layer)
    train = take_examples(run, dataset.train, _TRAIN_ROWS)
    train_trajectories = _select_layer(trace_batch(run, train.batch), layer)
    rows = np.linspace(0, len(test.is_example) - 1, min(ROWS, len(test.is_example))).astype(int)
    initial = _select_layer(
        trace_batch(run, _take_rows(test.batch, rows), initial_params(run)), layer
    )
    layers = []
    with Progress("dynamics", _STAGES * len(trajectories) + 1) as progress:
        for number, trajectory in enumerate(trajectories):

            def advance(stage: int, number: int = number) -> None:
                progress.update(_STAGES * number + stage)

            layers.append(
                _Layer(
                    run,
                    _take_rows(trajectory, rows),
                    initial[number],
                    (train_trajectories[number], train),
                    (trajectory, test),
                    rows,
                ).values(advance)
            )
        padding = _padding(run, test)
        progress.update(_STAGES * len(trajectories) + 1)
    model = run.config.model
    lengths = test.is_example.sum(axis=1)
    values = {
        "name": run.folder.resolve().name,
        "cell": f"{model.cell}, {model.features} features",
        "fallback": run.fallback,
        "step": run.step,
        "unit": _unit(run),
        "masked": model.mask,
        "sequences": len(rows),
        "median_length": float(np.median(lengths)),
        "classes": _class_names(run, test),
        "layers": layers,
        "padding": padding,
    }
    return Dynamics(values)


class _Layer:
    """The quantities of a layer in one direction."""

    def __init__(
        self,
        run: TrainedRun,
        trajectory: Trajectory,
        initial: Trajectory,
        train: tuple[Trajectory, PaddedExamples],
        test: tuple[Trajectory, PaddedExamples],
        rows: Int[np.ndarray, " rows"],
    ):
        self._run = run
        self._trajectory = trajectory
        self._initial = initial
        self._train, self._test = train, test
        self._rows = rows

    def values(self, advance: Callable[[int], None]) -> dict[str, Any]:
        """Returns the quantities, ready for JSON.

        Args:
          advance: called with the number of stages that are done.
        """
        trajectory = self._trajectory
        values: dict[str, Any] = {"name": trajectory.name, "size": trajectory.size}
        for key, sequences in (
            ("gradient_reach", trajectory),
            ("initial_gradient_reach", self._initial),
        ):
            reach = gradient_reach(sequences)
            values[key] = reach._asdict() | {"description": reach.describe()}
        advance(1)
        spectrum = lyapunov_spectrum(trajectory)
        values["lyapunov"] = spectrum._asdict() | {
            "time_constant": spectrum.time_constant,
            "description": spectrum.describe(),
        }
        advance(2)
        train, test = self._features(*self._train), self._features(*self._test)
        points = {}
        if trajectory.size <= MAX_SIZE:
            points = find_points(trajectory, self._constant_inputs())
        plane = project_states(test)
        values["plane"] = plane.summary()
        values["points"] = {
            name: [
                _point_values(point) | {"at": plane.project(point.state)}
                for point in points_of_input[:_POINTS]
            ]
            for name, points_of_input in points.items()
        }
        values["point_counts"] = {
            name: len(points_of_input) for name, points_of_input in points.items()
        }
        advance(3)
        values["units"] = _unit_values(unit_statistics(trajectory))
        advance(4)
        class_probe = probe_class(train, test)
        values["probes"] = {
            "class": class_probe and class_probe._asdict(),
            "words": {lag: probe._asdict() for lag, probe in probe_words(train, test).items()},
        }
        advance(5)
        return values

    def _features(self, trajectory: Trajectory, examples: PaddedExamples) -> Features:
        """Returns states, tokens and classes in the order in which the layer reads."""
        count = max(_MAX_NUMBERS // (trajectory.size * trajectory.mask.shape[1]), 2)
        rows = np.arange(min(len(trajectory.mask), count))
        is_example, tokens = self._example_steps(trajectory, examples)
        is_filled = is_example[rows].any(axis=1)
        labels = _labels(examples)
        return Features(
            states=np.asarray(state_vectors(_take_rows(trajectory, rows)))[is_filled],
            tokens=None if tokens is None else tokens[rows][is_filled],
            is_example=is_example[rows][is_filled],
            labels=None
            if labels is None or len(labels) != len(trajectory.mask)
            else labels[rows][is_filled],
        )

    def _example_steps(
        self, trajectory: Trajectory, examples: PaddedExamples
    ) -> tuple[Bool[np.ndarray, "rows time"], Int[np.ndarray, "rows time"] | None]:
        """Returns which steps are of an example, and their tokens, in the order of reading."""
        is_example = examples.is_example
        if is_example.shape != trajectory.mask.shape:  # a layer on something else than the tokens
            return np.asarray(trajectory.mask), None
        tokens = np.asarray(examples.batch.inputs) if _reads_tokens(self._run) else None
        if tokens is not None and tokens.shape != is_example.shape:
            tokens = None
        if trajectory.reverse:
            is_example = is_example[:, ::-1]
            tokens = None if tokens is None else tokens[:, ::-1]
        return is_example, tokens

    def _constant_inputs(self) -> dict[str, np.ndarray]:
        """Returns the inputs whose points are searched: none, the mean one, padding, and words."""
        test_trajectory, examples = self._test
        is_example, tokens = self._example_steps(test_trajectory, examples)
        values = np.asarray(test_trajectory.inputs)
        inputs = {
            "no input": np.zeros_like(values[0, 0]),
            "mean input": values[is_example].mean(axis=0),
        }
        if tokens is None:
            return inputs
        mask = np.asarray(test_trajectory.mask)
        counts = np.bincount(tokens[is_example], minlength=UNKNOWN + 1)
        counts[UNKNOWN] = 0
        frequent = np.argsort(-counts, kind="stable")[:_WORDS].tolist()
        for token in [PADDING, *(token for token in frequent if counts[token])]:
            occurrences = values[mask & (tokens == token)]
            # Upper layers read outputs, which depend on more than the token.
            if len(occurrences) and np.ptp(occurrences, axis=0).max() == 0:
                words = self._run.text_vocabulary.words
                name = "padding" if token == PADDING else f"\u201c{words[token]}\u201d"
                inputs[name] = occurrences[0]
        return inputs


def _select_layer(trajectories: Sequence[Trajectory], layer: int) -> list[Trajectory]:
    """Returns the trajectories of one layer; of all for 0."""
    return [
        trajectory
        for trajectory in trajectories
        if not layer or re.search(rf"\blayer {layer}\b", trajectory.name)
    ]


def _take_rows(tree: Any, rows: Int[np.ndarray, " rows"]) -> Any:
    """Returns rows of a batch or of a trajectory, whose parameters have none."""
    if not isinstance(tree, Trajectory):
        return jax.tree.map(lambda leaf: leaf[rows], tree)
    names = ("inputs", "mask", "initial_state", "resets")
    arrays = {name: getattr(tree, name) for name in names}
    return tree.replace(**jax.tree.map(lambda leaf: leaf[rows], arrays))


def _reads_tokens(run: TrainedRun) -> bool:
    return isinstance(run.task, TokenTask)


def _unit(run: TrainedRun) -> str:
    """Returns what a step reads: a 'word', 'character' or 'subword', otherwise 'step'."""
    if not _reads_tokens(run):
        return "step"
    return run.data.get("unit", run.config.data.vocabulary.unit)


def _labels(examples: PaddedExamples) -> Int[np.ndarray, " rows"] | None:
    """Returns the class of each row of a batch; None where the targets are no classes of rows."""
    targets = np.asarray(getattr(examples.batch, "targets", np.zeros((0, 0))))
    return targets if targets.ndim == 1 and np.issubdtype(targets.dtype, np.integer) else None


def _class_names(run: TrainedRun, examples: PaddedExamples) -> list[str]:
    """Returns the names of few classes of rows, and none otherwise."""
    labels = _labels(examples)
    if labels is None or labels.max() >= _MAX_CLASSES:
        return []
    names = run.data.get("classes") or [str(label) for label in range(labels.max() + 1)]
    return list(map(str, names))


def _padding(run: TrainedRun, examples: PaddedExamples) -> dict[str, Any] | None:
    """Returns the decay through padding of a network that reads it, ready for JSON."""
    labels = _labels(examples)
    if run.config.model.mask or not _reads_tokens(run) or labels is None:
        return None
    tokens = np.asarray(examples.batch.inputs)
    lengths = examples.is_example.sum(axis=1)
    decay = token_padding_decay(run, tokens, lengths, labels)
    read = np.asarray(examples.batch.mask).sum(axis=1) - lengths
    return decay._asdict() | {
        "median_padding": float(np.median(read)),
        "lower_padding": float(np.quantile(read, 0.1)),
        "upper_padding": float(np.quantile(read, 0.9)),
    }


def _point_values(point: Point) -> dict[str, Any]:
    eigenvalues = point.eigenvalues[:_EIGENVALUES]
    return {
        "kind": point.kind,
        "stability": point.stability,
        "unstable": point.unstable,
        "speed": point.speed,
        "starts": point.starts,
        "eigenvalues": [[float(value.real), float(value.imag)] for value in eigenvalues],
        "time_constants": point.time_constants[:_EIGENVALUES],
    }


def _unit_values(statistics: UnitStatistics) -> dict[str, Any]:
    gates = {name: gate._asdict() for name, gate in statistics.gates.items()}
    return statistics._asdict() | {"gates": gates}
