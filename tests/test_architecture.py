"""Rules of the whole repository: imports, sizes of files, names of modules, versions."""

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from rnnjax import __version__
from rnnjax.config.task_schema import task_names

ROOT = Path(__file__).resolve().parents[1]
LINES = 400
VAGUE_NAMES = {"utils", "util", "common", "helpers", "helper", "misc"}

CHAIN = ("kernels", "cells", "layers", "models", "tasks", "training")
SUPPORT = {
    *("errors", "input_files", "paths", "allocator", "cache", "config", "console", "data"),
    *("interrupt", "reporting", "lint_rules", "encodings", "class_import"),
}
ENTRIES = {
    *("main", "predict", "evaluate", "generate", "translate", "inspect", "experiment", "compare"),
    *("lint", "score", "export", "serve", "report", "dynamics", "plan"),
}

TASK_CONFIGS = "config of a task"
"""The modules `rnnjax/tasks/NAME/config.py`, which `rnnjax.config` finds by the task's name."""

MAY_IMPORT: dict[str, set[str]] = {
    "": {"training"},  # when `rnnjax.fit` or `rnnjax.load` is used
    "errors": set(),
    "encodings": set(),
    "input_files": {"errors", "encodings"},
    "class_import": {"errors"},
    "allocator": set(),
    "paths": {"errors"},
    "cache": {"errors", "paths"},
    "interrupt": set(),
    "console": set(),
    "config": {"errors", "input_files", "paths", "class_import"},
    "reporting": {"errors", "input_files", "config", "console"},
    "data": {"errors", "input_files", "paths", "cache", "config", "reporting"},
    "lint_rules": {"config", "data"},
    **{part: {"errors", *CHAIN[:place]} for place, part in enumerate(CHAIN[:4])},
    "cells": {"errors", "class_import", "kernels"},
    **{part: {*SUPPORT, *CHAIN[: CHAIN.index(part)]} for part in ("tasks", "training")},
    "testing": {"errors", "cli", "console", "cache", "config", "data", *CHAIN},
    "interop": {"errors", *CHAIN[:3]},
    "cli": {*SUPPORT},
    **{part: {*SUPPORT, *CHAIN, "cli"} for part in ENTRIES},
    "lint": {*SUPPORT, "cli", "experiment"},
    "exporting": {*SUPPORT, "tasks"},
    "export": {*SUPPORT, "cli", "training", "exporting"},
    "serving": {*SUPPORT, "tasks", "training", "exporting"},
    "serve": {*SUPPORT, "cli", "training", "serving"},
    "__main__": {"cli", "console"},
    TASK_CONFIGS: {"errors", "config"},
}
"""The parts that each part may import, besides itself and the bare package."""

PEERS = "experiments/speed/"
"""The benchmarks time Keras on TensorFlow, in an environment that has them."""
FENCES: dict[str, tuple[str, ...]] = {
    "orbax": ("rnnjax/training/checkpoint.py",),
    "absl": ("rnnjax/cli/",),
    "ml_collections": ("configs/",),
    "tensorflow_datasets": ("rnnjax/data/corpora/", "experiments/faults/damaged_tables.py"),
    "tensorflow": (PEERS,),
    "sklearn": ("experiments/best/", "experiments/tagging/", "experiments/time_series/"),
    "safetensors": ("rnnjax/exporting/folder.py",),
    "jax2onnx": ("rnnjax/exporting/onnx_files.py",),
    "onnxruntime": ("rnnjax/exporting/onnx_files.py",),
    "sacrebleu": ("rnnjax/tasks/translation/bleu.py",),
    "optuna": ("rnnjax/experiment/search.py",),
    "ray": ("rnnjax/experiment/ray_workers.py",),
    "tensorboardX": ("rnnjax/reporting/event_files.py",),
}
"""The files, or folders ending in '/', that may import a library."""


def list_violations(root: Path) -> list[str]:
    """Returns a line for each import under a repository's root that the rules forbid."""
    lines = []
    for path in sorted(root.glob("rnnjax/**/*.py")):
        location = path.relative_to(root).as_posix()
        part = path.relative_to(root / "rnnjax").with_suffix("").parts[0]
        if part == "__init__":
            part = ""
        elif part not in MAY_IMPORT:
            lines.append(f"{location}: {part} has no place among the parts")
            continue
        elif re.fullmatch(r"rnnjax/tasks/\w+/config\.py", location):
            part = TASK_CONFIGS
        for target_part in sorted(set(_imported_parts(path, root))):
            if target_part != part and target_part not in MAY_IMPORT.get(part, set()):
                lines.append(f"{location}: {part or 'rnnjax'} imports {target_part}")
    for folder in ("rnnjax", "configs", "experiments"):
        for path in sorted(root.glob(f"{folder}/**/*.py")):
            location = path.relative_to(root).as_posix()
            libraries = {name.split(".")[0] for name, _ in _imports(path, root)}
            for library in sorted(libraries & set(FENCES)):
                if not location.startswith(FENCES[library]):
                    lines.append(f"{location}: imports {library}")
    return lines


def _imports(path: Path, root: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yields each module that a file imports, and the names that it takes from it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(path.relative_to(root).parts[: -node.level]) if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module, tuple(alias.name for alias in node.names)


def _imported_parts(path: Path, root: Path) -> Iterator[str]:
    for module, names in _imports(path, root):
        first, *rest = module.split(".")
        if first != "rnnjax":
            continue
        if rest:
            yield rest[0]
        else:
            # `from rnnjax import x` names a part, or something in the package's own file.
            package = root / "rnnjax"
            parts = {path.stem for path in package.iterdir()}
            yield from (name for name in names if name in parts)


def list_task_mentions(root: Path, tasks: list[str]) -> list[str]:
    """Returns a line for each mention of a task under a repository's root, outside its folder."""
    lines = []
    for path in sorted([*root.glob("rnnjax/**/*.py"), *root.glob("rnnjax/**/*.j2")]):
        location = path.relative_to(root).as_posix()
        if location.startswith("rnnjax/configs/"):
            continue
        foreign = [task for task in tasks if not location.startswith(f"rnnjax/tasks/{task}/")]
        names = "|".join(foreign)
        pattern = re.compile(
            rf"""(["'`])(?:{names})(?:\1|\.)|\bconfig\.(?:{names})\b|\btasks?[./](?:{names})\b"""
            r"""|\btask(?:["']\])?\s+(?:[=!]=|(?:not\s+)?in)\s+(?:["'(\[{]|[A-Z_]{2,})"""
        )
        text = path.read_text(encoding="utf-8")
        code = re.sub(r"#.*", "", text) if path.suffix == ".py" else text
        mentions = [match[0] for match in pattern.finditer(code)]
        if path.suffix == ".py":
            imports = _imports(path, root)
            mentions += [
                f"import {name}"
                for module, imported in imports
                if module.startswith("rnnjax.tasks")
                for name in (*module.split("."), *imported)
                if name in foreign
            ]
        lines += [f"{location}: {mention}" for mention in mentions]
    return lines


def test_imports_respect_the_layers():
    assert list_violations(ROOT) == []


def test_every_layer_exists():
    parts = {path.stem for path in (ROOT / "rnnjax").iterdir() if path.suffix in ("", ".py")}
    assert {*CHAIN, *SUPPORT, *ENTRIES} <= parts


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
        ("rnnjax/tasks/a.py", "from rnnjax.training import load_run", "tasks imports training"),
        ("rnnjax/tasks/b/a.py", "from rnnjax.training import a", "tasks imports training"),
        ("rnnjax/tasks/b/config.py", "import rnnjax.data", f"{TASK_CONFIGS} imports data"),
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
def test_forbidden_imports_are_reported(tmp_path, file, line, message):
    for name in ("layers", "models", "main", "cells", "data"):
        (tmp_path / "rnnjax" / name).mkdir(parents=True, exist_ok=True)
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(f"{line}\n", encoding="utf-8")
    assert list_violations(tmp_path) == [f"{file}: {message}"]


def test_tasks_are_named_in_their_folders_alone():
    assert list_task_mentions(ROOT, task_names()) == []


@pytest.mark.parametrize(
    ("file", "line", "mention"),
    [
        ("rnnjax/main.py", "names = ['parsing', 'tagging']", "'tagging'"),
        ("rnnjax/main.py", 'if name == "tagging":', '"tagging"'),
        ("rnnjax/main.py", "key = 'tagging.length'", "'tagging."),
        ("rnnjax/main.py", "if config.task == NAME:", "task == NAME"),
        ("rnnjax/main.py", "if config['task'] not in ('a', NAME):", "task'] not in ("),
        ("rnnjax/main.py", "length = config.tagging.length", "config.tagging"),
        ("rnnjax/main.py", "from rnnjax.tasks.tagging import data", "import tagging"),
        ("rnnjax/tasks/a.py", "from rnnjax.tasks import tagging", "import tagging"),
        ("rnnjax/tasks/a.py", "from .tagging import data", "import tagging"),
        ("rnnjax/tasks/parsing/a.py", "from ..tagging import data", "import tagging"),
        ("rnnjax/tasks/registry.py", "find('rnnjax.tasks.tagging.task')", "tasks.tagging"),
        ("rnnjax/reporting/a.html.j2", "{% if task == 'x' %}", "task == '"),
        ("rnnjax/reporting/a.html.j2", "{% include 'tasks/tagging/a.j2' %}", "tasks/tagging"),
    ],
)
def test_mentions_of_tasks_are_reported(tmp_path, file, line, mention):
    (tmp_path / file).parent.mkdir(parents=True)
    suffix = "\n    pass\n" if line.endswith(":") else "\n"
    (tmp_path / file).write_text(line + suffix, encoding="utf-8")
    assert f"{file}: {mention}" in list_task_mentions(tmp_path, ["parsing", "tagging"])


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("rnnjax/tasks/tagging/a.py", "from rnnjax.tasks.tagging import data\nname = 'tagging'"),
        ("rnnjax/configs/a.py", "config.task = 'tagging'"),
        ("rnnjax/main.py", "same = a.config.task == b.config.task  # not only of 'tagging'"),
        ("rnnjax/main.py", "'Tags a text; tagging takes a while.'"),
    ],
)
def test_other_words_are_no_mentions_of_tasks(tmp_path, file, line):
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(f"{line}\n", encoding="utf-8")
    assert list_task_mentions(tmp_path, ["parsing", "tagging"]) == []


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
def test_allowed_imports_are_not_reported(tmp_path, file, line):
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(f"{line}\n", encoding="utf-8")
    assert list_violations(tmp_path) == []


def _python_files() -> list[Path]:
    folders = ("rnnjax", "configs", "experiments", "tests")
    return [path for folder in folders for path in sorted(ROOT.glob(f"{folder}/**/*.py"))]


def test_no_file_is_long():
    long_files = {
        str(path.relative_to(ROOT)): lines
        for path in _python_files()
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > LINES
    }
    assert long_files == {}


def test_no_module_has_a_vague_name():
    modules = [path.relative_to(ROOT).with_suffix("") for path in _python_files()]
    names = {part for module in modules for part in module.parts}
    assert names & VAGUE_NAMES == set()


def test_printing_goes_through_functions_that_escape():
    prints = {"print", "sys.stdout.write", "sys.stderr.write"}
    without_rnnjax = "rnnjax/exporting/run.py"  # it prints JSON, which is escaped
    lines = []
    for path in sorted(ROOT.glob("rnnjax/**/*.py")):
        location = path.relative_to(ROOT).as_posix()
        if location == without_rnnjax:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in prints:
                lines.append(f"{location}, line {node.lineno}: {ast.unparse(node.func)}")
    assert lines == []  # rnnjax.console.show, or say of rnnjax.reporting.progress


def test_changelog_begins_with_the_version():
    changelog = (ROOT / ".github" / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+)", changelog, re.MULTILINE)[0] == __version__


def test_dependencies_have_lower_bounds():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    unbounded = [name for name in required if ">=" not in name]
    assert unbounded == ["rnnjax[cluster,export,notebook,onnx,serve,sweep,tensorboard,translate]"]


@pytest.mark.parametrize("folder", ["configs", "experiments"])
def test_names_that_scripts_import_from_the_package_exist(folder):
    missing = []
    for path in sorted(ROOT.glob(f"{folder}/**/*.py")):
        for module, names in _imports(path, ROOT):
            if module.split(".")[0] == "rnnjax":
                imported = importlib.import_module(module)
                folders = getattr(imported, "__path__", [])
                modules = {part.name for part in pkgutil.iter_modules(folders)}
                missing += [
                    f"{path.relative_to(ROOT)}: {module}.{name}"
                    for name in names
                    if not hasattr(imported, name) and name not in modules
                ]
    assert missing == []


def test_templates_and_style_sheets_are_package_data():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    patterns = settings["setuptools"]["package-data"]["*"]
    files = [path for path in ROOT.glob("rnnjax/**/*") if path.suffix in (".j2", ".css", ".html")]
    assert len(files) > len(task_names())
    assert [path for path in files if not any(map(path.match, patterns))] == []


def test_tests_do_not_import_tensorflow():
    for path in ROOT.glob("tests/**/*.py"):
        assert "tensorflow" not in {name.split(".")[0] for name, _ in _imports(path, ROOT)}, path


def run_python(code: str) -> list[str]:
    """Returns the words that a fresh interpreter prints."""
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return process.stdout.split()


COMPARING = ("compare", "experiment.__main__")
"""Commands that begin with scipy.stats."""


@pytest.mark.parametrize(
    "modules",
    [
        "main, rnnjax.training",
        "predict",
        "evaluate",
        "generate",
        "score",
        "translate",
        "inspect",
        "dynamics.__main__",
        "export",
        "serve",
        "experiment.__main__",
        "compare",
        "report",
        "lint",
    ],
)
def test_commands_load_no_heavy_libraries(modules):
    heavy = ["tensorflow", "tensorflow_datasets", "torch", "keras", "sacrebleu"]
    heavy += ["matplotlib.pyplot"]
    if modules not in COMPARING:
        heavy += ["matplotlib", "scipy.stats"]
    code = (
        f"import sys, rnnjax.{modules}\n"
        f"print('loaded', *(name for name in {heavy} if name in sys.modules))\n"
    )
    assert run_python(code) == ["loaded"]


def test_importing_the_package_is_fast():
    code = (
        "import sys, time\nstart = time.perf_counter()\nimport rnnjax\n"
        "print(time.perf_counter() - start, 'jax' in sys.modules)"
    )
    seconds, loads_jax = run_python(code)
    assert float(seconds) < 3.0
    assert loads_jax == "False"
