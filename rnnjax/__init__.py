"""rnnjax: recurrent neural networks in JAX and Flax.

    import rnnjax

    run = rnnjax.fit("bilstm", epochs=2, seed=0)
    run.predict(["Oil prices fall as output rises"])

`fit` trains the model of a config and returns the trained run; `load` returns that of a folder;
`compare_runs` compares the scores of several.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rnnjax.training import compare_runs, fit
    from rnnjax.training import load_run as load

__version__ = "0.2.0"
__all__ = ["compare_runs", "fit", "load"]


def __getattr__(name: str) -> Any:
    """Imports what is exported when it is first used, so that importing rnnjax is quick."""
    if name in __all__:
        from rnnjax import training

        return getattr(training, "load_run" if name == "load" else name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
