"""Settings and fixtures of all tests: Keras on JAX, strict promotion, separate caches, AG News."""

import gc
import importlib.metadata
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

# Keras reads it once, when it is first imported.
os.environ["KERAS_BACKEND"] = "jax"
# So does JAX: arrays of differing ranks or dtypes are combined explicitly or not at all.
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"
# XLA reads these once. The tests compile thousands of programs that run for microseconds; machine
# code that is not optimised computes the same and is made in half the time. XLA ends a process that
# names a flag it does not know, so that the flags are those of one version.
if importlib.metadata.version("jaxlib").startswith("0.10."):
    os.environ.setdefault(
        "XLA_FLAGS",
        "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
        "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
    )

# Tracing makes millions of small objects, and looking through them for cycles takes a tenth of the
# time.
gc.set_threshold(50_000)

# Under nohup, or in the background of a script, they are ignored, in children as well: tests that
# interrupt a child would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

pytest_plugins = ["command_line", "training.small_runs"]

NEWS = Path(__file__).resolve().parents[2] / "shared" / "data" / "ag_news_csv"


@pytest.fixture(autouse=True, scope="session")
def separate_caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps prepared corpora and compiled programs out of the user's cache."""
    base = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        base = base.parent  # the workers share prepared corpora
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RNNJAX_CACHE", str(base / "cache"))
        patch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
        yield


@pytest.fixture
def implicit_promotion() -> Iterator[None]:
    """Allows implicit promotion of ranks and dtypes, on which Keras and many flax cells rely."""
    import jax

    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="session")
def news_dir() -> Path:
    """The folder with train.csv and test.csv of AG News, beside the repository."""
    if not (NEWS / "test.csv").exists():
        pytest.skip(f"AG News is not at {NEWS}")
    return NEWS
