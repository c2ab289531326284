"""The house rules that a reader of one file cannot see: who may import whom, and how large."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINES = 400
NAMELESS = {"utils", "util", "common", "helpers", "helper", "misc"}

CHAIN = ("kernels", "cells", "layers", "models", "tasks", "training")
ASIDE = {
    *("errors", "input_files", "paths", "allocator", "cache", "config", "console", "data"),
    "interrupt",
    *("reporting", "lint_rules", "encodings"),
}
ENTRIES = {
    *("main", "predict", "evaluate", "generate", "translate", "inspect", "experiment", "compare"),
    "lint",
}

MAY_IMPORT: dict[str, set[str]] = {
    "": {"training"},  # when `rnnjax.fit` or `rnnjax.load` is used
    "errors": set(),
    "encodings": set(),
    "input_files": {"errors", "encodings"},
    "allocator": set(),
    "paths": {"errors"},
    "cache": {"errors", "paths"},
    "interrupt": set(),
    "console": set(),
    "config": {"errors", "input_files", "paths"},
    "reporting": {"errors", "input_files", "config", "console"},
    "data": {"errors", "input_files", "paths", "cache", "config", "reporting"},
    "lint_rules": {"config", "data"},
    **{part: {"errors", *CHAIN[:place]} for place, part in enumerate(CHAIN[:4])},
    **{part: {*ASIDE, *CHAIN[: CHAIN.index(part)]} for part in ("tasks", "training")},
    "testing": {"errors", "cli", "console", *CHAIN[:3]},
    "interop": {"errors", *CHAIN[:3]},
    "cli": {*ASIDE},
    **{part: {*ASIDE, *CHAIN, "cli"} for part in ENTRIES},
    "lint": {*ASIDE, "cli", "experiment"},
    "__main__": {"cli", "console"},
}
"""What each part of the package may import besides itself and the bare package."""

PEERS = "experiments/speed/"
"""It times Keras on TensorFlow beside us, in an environment that has them."""
FENCES: dict[str, tuple[str, ...]] = {
    "orbax": ("rnnjax/training/checkpoint.py",),
    "absl": ("rnnjax/cli/",),
    "ml_collections": ("configs/",),
    "tensorflow_datasets": ("rnnjax/data/corpora/",),
    "tensorflow": (PEERS,),
    "sklearn": ("experiments/best/",),
    "sacrebleu": ("rnnjax/tasks/bleu.py",),
}
"""The only files, or folders ending in '/', that may import a library."""


def violations(root: Path) -> list[str]:
    """Returns a line for each import under a repository's root that the rules forbid."""
    found = []
    for path in sorted(root.glob("rnnjax/**/*.py")):
        where = path.relative_to(root).as_posix()
        part = path.relative_to(root / "rnnjax").with_suffix("").parts[0]
        if part == "__init__":
            part = ""
        elif part not in MAY_IMPORT:
            found.append(f"{where}: {part} has no place among the parts")
            continue
        for target in sorted(set(_parts_imported(path, root))):
            if target != part and target not in MAY_IMPORT.get(part, set()):
                found.append(f"{where}: {part or 'rnnjax'} imports {target}")
    for folder in ("rnnjax", "configs", "experiments"):
        for path in sorted(root.glob(f"{folder}/**/*.py")):
            where = path.relative_to(root).as_posix()
            libraries = {name.split(".")[0] for name, _ in _imports(path, root)}
            for library in sorted(libraries & set(FENCES)):
                if not where.startswith(FENCES[library]):
                    found.append(f"{where}: imports {library}")
    return found


def _imports(path: Path, root: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yields each module that a file imports, and the names that it takes from it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(path.relative_to(root).parts[: -node.level]) if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module, tuple(alias.name for alias in node.names)


def _parts_imported(path: Path, root: Path) -> Iterator[str]:
    for module, names in _imports(path, root):
        first, *rest = module.split(".")
        if first != "rnnjax":
            continue
        if rest:
            yield rest[0]
        else:
            # `from rnnjax import x` names a part, or something in the package's own file.
            package = root / "rnnjax"
            built = {each.stem for each in package.iterdir()}
            yield from (name for name in names if name in built)


def test_imports_go_one_way_and_stay_inside_their_fences():
    assert violations(ROOT) == []


def test_every_part_of_the_rules_that_is_built_is_looked_at():
    built = {path.stem for path in (ROOT / "rnnjax").iterdir() if path.suffix in ("", ".py")}
    assert {*CHAIN, *ASIDE, *ENTRIES} <= built


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("rnnjax/cells/a.py", "from rnnjax.layers import RNN", "cells imports layers"),
        ("rnnjax/cells/a.py", "from rnnjax import layers", "cells imports layers"),
        ("rnnjax/cells/a.py", "import rnnjax.layers.rnn as r", "cells imports layers"),
        ("rnnjax/cells/a.py", "from ..layers import rnn", "cells imports layers"),
        ("rnnjax/cells/a.py", "def f():\n    from rnnjax.models import x", "cells imports models"),
        ("rnnjax/cells/a.py", "from rnnjax.config import Config", "cells imports config"),
        ("rnnjax/data/a.py", "from rnnjax.tasks import x", "data imports tasks"),
        ("rnnjax/reporting/a.py", "from rnnjax.data import text", "reporting imports data"),
        ("rnnjax/config/schema.py", "from rnnjax.cells import CELLS", "config imports cells"),
        ("rnnjax/training/a.py", "from rnnjax import main", "training imports main"),
        ("rnnjax/predict.py", "from rnnjax import main", "predict imports main"),
        ("rnnjax/__init__.py", "from rnnjax.layers import RNN", "rnnjax imports layers"),
        ("rnnjax/extras/a.py", "", "extras has no place among the parts"),
        ("rnnjax/training/a.py", "import orbax.checkpoint as ocp", "imports orbax"),
        ("rnnjax/tasks/a.py", "from absl import flags", "imports absl"),
        ("rnnjax/data/a.py", "import tensorflow_datasets", "imports tensorflow_datasets"),
        ("rnnjax/main.py", "import tensorflow as tf", "imports tensorflow"),
        ("configs/a.py", "import tensorflow as tf", "imports tensorflow"),
    ],
)
def test_an_arrow_that_runs_back_is_found(tmp_path, file, line, message):
    for name in ("layers", "models", "main", "cells", "data"):
        (tmp_path / "rnnjax" / name).mkdir(parents=True, exist_ok=True)
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(f"{line}\n", encoding="utf-8")
    assert violations(tmp_path) == [f"{file}: {message}"]


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("rnnjax/layers/a.py", "import jax\nfrom rnnjax.cells import Cell\nfrom .b import x"),
        ("rnnjax/tasks/a.py", "from rnnjax import data\nfrom rnnjax.models import Classifier"),
        ("rnnjax/training/checkpoint.py", "import orbax.checkpoint\nimport rnnjax"),
        ("rnnjax/cli/a.py", "from absl import logging\nfrom rnnjax import __version__"),
        ("configs/a.py", "import ml_collections"),
        ("rnnjax/data/corpora/a.py", "import tensorflow_datasets"),
    ],
)
def test_what_the_rules_allow_is_not_found(tmp_path, file, line):
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(f"{line}\n", encoding="utf-8")
    assert violations(tmp_path) == []


def _python_files() -> list[Path]:
    folders = ("rnnjax", "configs", "experiments", "tests")
    return [path for folder in folders for path in sorted(ROOT.glob(f"{folder}/**/*.py"))]


def test_no_file_is_long():
    long = {
        str(path.relative_to(ROOT)): lines
        for path in _python_files()
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > LINES
    }
    assert long == {}


def test_every_module_has_a_name_that_says_what_is_in_it():
    modules = [path.relative_to(ROOT).with_suffix("") for path in _python_files()]
    names = {part for module in modules for part in module.parts}
    assert names & NAMELESS == set()


def test_text_is_printed_by_functions_that_escape_it():
    prints = {"print", "sys.stdout.write", "sys.stderr.write"}
    found = []
    for path in sorted(ROOT.glob("rnnjax/**/*.py")):
        where = path.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in prints:
                found.append(f"{where}, line {node.lineno}: {ast.unparse(node.func)}")
    assert found == []  # rnnjax.console.show, or say of rnnjax.reporting.progress


def test_tests_do_without_tensorflow():
    for path in ROOT.glob("tests/**/*.py"):
        assert "tensorflow" not in {name.split(".")[0] for name, _ in _imports(path, ROOT)}, path


def _python(code: str) -> list[str]:
    """Returns the words that a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    "modules",
    [
        "main, rnnjax.training",
        "predict",
        "evaluate",
        "generate",
        "translate",
        "inspect",
        "experiment.__main__",
        "compare",
        "lint",
    ],
)
def test_the_commands_load_neither_tensorflow_nor_pyplot(modules):
    code = (
        f"import sys, rnnjax.{modules}\n"
        "heavy = 'tensorflow', 'tensorflow_datasets', 'matplotlib.pyplot', 'torch', 'keras', "
        "'sacrebleu'\n"
        "print('loaded', *(name for name in heavy if name in sys.modules))\n"
    )
    assert _python(code) == ["loaded"]


def test_importing_the_package_takes_no_time():
    code = (
        "import sys, time\nstart = time.perf_counter()\nimport rnnjax\n"
        "print(time.perf_counter() - start, 'jax' in sys.modules)"
    )
    seconds, loads_jax = _python(code)
    assert float(seconds) < 3.0
    assert loads_jax == "False"
