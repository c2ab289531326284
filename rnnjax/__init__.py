"""rnnjax: recurrent neural networks in JAX and Flax.

    import rnnjax

    run = rnnjax.fit("bilstm", epochs=2, seed=0)
    run.predict(["Oil prices fall as output rises"])

`fit` trains the model of a config and returns the trained run; `load` returns that of a folder.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rnnjax.training import fit
    from rnnjax.training import load_run as load

__version__ = "0.2.0"
__all__ = ["fit", "load"]


def __getattr__(name: str) -> Any:
    """Imports `fit` and `load` when they are first used, so that importing rnnjax is quick."""
    if name in __all__:
        from rnnjax import training

        return training.fit if name == "fit" else training.load_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
