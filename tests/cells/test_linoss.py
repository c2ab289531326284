"""Linear oscillatory state space models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import LinOSSCell, LinOSSState
from rnnjax.errors import InputError
from rnnjax.layers import RNN

from .reference import FEATURES, assert_matches_equations, random_like, random_sequence

SCHEMES = ("implicit", "implicit-explicit", "damped")


def matrices(cell, p):
    """Returns A, G and the step of each oscillator."""
    a = np.maximum(p["stiffness"], 0).astype(np.float64)
    g = np.maximum(p["damping"], 0) if cell.scheme == "damped" else np.zeros_like(a)
    return a, g, 1 / (1 + np.exp(-p["step_size"].astype(np.float64)))


def linoss(cell, p, state, x):
    """Rusch and Rus (2025), Boyer et al. (2025): a system of two equations for each oscillator.

    The unknowns are the new velocity and the new position.
    """
    s, z = state
    force, (a, g, dt) = x @ p["input"]["kernel"], matrices(cell, p)
    new_s, new_z = np.empty_like(s), np.empty_like(z)
    implicit = cell.scheme == "implicit"
    for i in range(s.shape[1]):
        left = np.array([[1 + dt[i] * g[i], implicit * dt[i] * a[i]], [-dt[i], 1.0]])
        right = z[:, i] + dt[i] * force[:, i] - (not implicit) * dt[i] * a[i] * s[:, i]
        new_z[:, i], new_s[:, i] = np.linalg.solve(left, np.stack([right, s[:, i]]))
    return (new_s, new_z), new_s @ p["output_kernel"] + x @ p["skip"]["kernel"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_equations(scheme):
    assert_matches_equations(LinOSSCell(FEATURES, state_features=4, scheme=scheme), linoss)


def transition_eigenvalues(cell, p):
    """Returns the two eigenvalues of each oscillator's step, [n, 2]."""
    bound = cell.bind({"params": p})

    def step(s, z):
        projected = jnp.zeros((FEATURES + cell.features,))
        return jnp.stack(bound.step(LinOSSState(s, z), projected)[0])

    by_s, by_z = jax.jit(jax.jacfwd(step, argnums=(0, 1)))(*jnp.zeros((2, FEATURES)))
    blocks = np.stack([np.diagonal(np.asarray(j), axis1=1, axis2=2) for j in (by_s, by_z)])
    return np.linalg.eigvals(blocks.transpose(2, 1, 0).astype(np.float64))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_moduli_of_the_eigenvalues_are_those_of_the_papers(scheme):
    """Implicit: the root of S = 1 / (1 + dt^2 A); implicit-explicit: 1; damped: by 1 + dt G."""
    cell = LinOSSCell(FEATURES, scheme=scheme)
    p = random_like(random_sequence(cell)[0]["params"]["cell"], 3)
    p["stiffness"] = np.linspace(0.1, 3, FEATURES, dtype=np.float32)
    if scheme == "damped":
        p["damping"] = np.linspace(0, 0.6, FEATURES, dtype=np.float32)
    a, g, dt = matrices(cell, p)
    assert ((g - dt * a) ** 2 < 4 * a).all()
    moduli = {
        "implicit": (1 + dt**2 * a) ** -0.5,
        "implicit-explicit": np.ones(FEATURES),
        "damped": (1 + dt * g) ** -0.5,
    }[scheme]
    actual = abs(transition_eigenvalues(cell, p))
    np.testing.assert_allclose(actual, np.stack([moduli] * 2, axis=1), rtol=1e-5)


def test_free_oscillators_keep_an_energy_in_the_symplectic_scheme():
    """A s^2 + z^2 - dt A s z, over 500 steps without inputs."""
    cell = LinOSSCell(FEATURES, scheme="implicit-explicit")
    variables, x, state = random_sequence(cell)
    p = variables["params"]["cell"]
    p["stiffness"] = abs(p["stiffness"])
    a, _, dt = matrices(cell, p)

    def energy(state):
        s, z = (np.float64(part) for part in state)
        return a * s**2 + z**2 - dt * a * s * z

    final, _ = jax.jit(RNN(cell).apply)(
        variables, np.zeros_like(x[:, :1].repeat(500, 1)), None, state
    )
    assert abs(np.asarray(final.position) - state.position).max() > 0.1
    np.testing.assert_allclose(energy(final), energy(state), rtol=2e-3, atol=1e-4)


def test_invalid_options_raise():
    with pytest.raises(InputError, match="state_features: given -1"):
        LinOSSCell(FEATURES, state_features=-1)
    with pytest.raises(InputError, match="scheme: given 'explicit', expected one of implicit"):
        LinOSSCell(FEATURES, scheme="explicit")  # type: ignore[arg-type]
