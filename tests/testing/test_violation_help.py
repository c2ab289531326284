"""Help with a violation: its place in the code, usual causes, the smallest case, a picture."""

import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import LSTMState, SimpleCell, Zoneout
from rnnjax.testing import INVARIANTS, CellError, cell_checks, violation_search
from rnnjax.testing.exception_site import CAUSES, usual_causes
from rnnjax.testing.picture import MAX_LINES, MAX_MARKS, draw_differences

from .engine_mutants import NeverReverse

AXIS, STATE, DTYPE, VALUE, SETUP, _, BROADCAST = (cause for _, cause in CAUSES)


def violate(cell, name, **options) -> CellError:
    """Runs one check, which fails, and returns its error."""
    (check,) = (check for check in cell_checks(cell, **options) if check.name == name)
    with pytest.raises(CellError) as error:
        check()
    return error.value


class WrongShape(SimpleCell):
    """A gate of three units whatever the number of features."""

    def step(self, state, projected):
        pair = LSTMState(state, jnp.ones((3,)))
        return super().step(self.scale(*pair), projected)

    def scale(self, hidden, gate):
        return hidden * gate  # the line that raises


@pytest.mark.parametrize(
    "cell", [WrongShape(4), Zoneout(WrongShape(4), 0.2)], ids=["cell", "inner"]
)
def test_exception_shows_line_and_shapes(cell):
    error = violate(cell, "state_structure")
    assert error.site
    assert error.site.file.endswith("test_violation_help.py")
    assert error.site.function == "scale"
    assert error.site.source == "return hidden * gate  # the line that raises"
    assert error.site.shapes["hidden"] == "float32[6, 4]"
    assert error.site.shapes["gate"] == "float32[3]"
    assert error.site.shapes["self.recurrent_kernel"] == "float32[4, 4]"
    text = str(error)
    assert text.index(AXIS.split(":")[0]) < text.index(f"raised at: {error.site.file}:")
    assert "shapes:    self.recurrent_kernel: float32[4, 4]\n" in text
    assert error.as_dict()["raised_at"]["line"] == error.site.line


@pytest.mark.parametrize(
    ("error", "causes"),
    [
        (ValueError("anything"), (AXIS, STATE, DTYPE)),
        (TypeError("scan carry output has another tree"), (STATE, AXIS, DTYPE)),
        (TypeError("dot_general requires equal sizes"), (AXIS, STATE, DTYPE)),
        (TypeError("no implicit promotion path"), (DTYPE, AXIS, STATE)),
        (TypeError("conversion of traced array with shape bool[]"), (VALUE, AXIS, STATE)),
        (ValueError("no param in setup"), (SETUP, AXIS, STATE)),
    ],
)
def test_causes_that_fit_come_first(error, causes):
    assert usual_causes(error) == list(causes)
    assert usual_causes(error, "b, t, f = inputs.shape")[0] == AXIS


def test_fewer_features_are_tried(monkeypatch):
    monkeypatch.setattr(violation_search, "SMALL_FEATURES", (1,))
    error = violate(NeverReverse(4), "reverse")
    assert "smallest:  NeverReverse(features=1), inputs 1, 1 row, 2 steps" in str(error)
    assert str(error).startswith("NeverReverse(features=4) violates")
    assert error.as_dict()["smallest"]["cell"] == "NeverReverse(features=1)"


class KernelInProjection(SimpleCell):
    """A kernel in the projection that is no `Broadcast`."""

    def project(self, inputs):
        return super().project(inputs), self.recurrent_kernel

    def step(self, state, projected):
        projected, kernel = projected
        new = jnp.tanh(projected + state @ kernel)
        return new, new


def test_missing_broadcast_is_named():
    error = violate(KernelInProjection(4), "finite")
    assert error.causes[0] == BROADCAST
    assert error.site is None


class LongProjection(SimpleCell):
    """A projection that forgets the bias and more from eleven steps on."""

    def project(self, inputs):
        projected = super().project(inputs)
        return projected if inputs.ndim < 3 or inputs.shape[1] < 11 else 0.9 * projected


def test_violation_of_long_sequences_alone_is_minimized(monkeypatch):
    monkeypatch.setattr(violation_search, "MAX_REDUCTIONS", 24)
    error = violate(LongProjection(4), "loop_values", sizes=((3, 40),))
    assert (error.case.rows, error.case.steps) == (1, 11)
    assert "differs:   at 3 rows, 40 steps" in str(error)


def test_search_ends_in_time(monkeypatch):
    monkeypatch.setattr(violation_search, "SEARCH_SECONDS", 0.0)
    error = violate(NeverReverse(4), "reverse")
    assert (error.case.rows, error.case.steps) == (6, 7)


def test_every_invariant_has_a_cause_in_one_sentence():
    for invariant in INVARIANTS.values():
        assert 20 < len(invariant.cause) < 200
        assert not invariant.cause.endswith(".")


def test_picture_has_rows_and_steps():
    outputs = np.zeros((2, 4, 3), bool)
    outputs[1, 2:, 0] = True
    final = np.array([[False], [True]])
    mask = np.array([[True, True, True, False], [True] * 4])
    assert draw_differences(
        {"final state.hidden": final, "final state.cell": ~final, "outputs": outputs},
        {"outputs": 3},
        mask,
    ) == [
        "(. equal, X differs, - masked)",
        "       outputs, 4 steps  final state",
        "row 0  ...-              X",
        "row 1  ..XX              X",
    ]


def test_picture_of_parameters_and_of_many_steps_and_rows():
    kernel = np.zeros((2, 3), bool)
    kernel[1, 2] = True
    zeros, mask = np.zeros((40, 257, 2), bool), np.ones((40, 257), bool)
    name = "gradient of parameters.kernel"
    picture = draw_differences({"outputs": zeros, name: kernel}, {"outputs": 3}, mask)
    assert picture == [f"{name} [2, 3]  (. equal, X differs)", "...", "..X"]
    zeros[39, 100] = True
    picture = draw_differences({"outputs": zeros}, {"outputs": 3}, mask)
    assert len(picture) == 3 + MAX_LINES
    assert picture[-1].strip() == "24 more, of which 1 differ  each mark is 5 steps"
    assert max(len(line) for line in picture) <= MAX_MARKS + 10
    assert draw_differences({}, {}, mask) == []


def test_picture_of_many_steps_beside_a_state():
    outputs, state = np.zeros((2, 130), bool), np.ones((2, 4), bool)
    outputs[0, 60:] = True
    picture = draw_differences(
        {"outputs": outputs, "final state": state}, {"outputs": 2}, np.ones((2, 130), bool)
    )
    assert picture[2:] == [
        f"row 0  {'.' * 20}{'X' * 24}  X",
        f"row 1  {'.' * 44}  X",
        "       each mark is 3 steps",
    ]
