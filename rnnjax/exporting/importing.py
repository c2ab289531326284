"""Imports the script of exported folders, whose modules find each other in their folder."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def import_run() -> ModuleType:
    """Returns `run.py` as a module, without leaving its folder on the path of imports."""
    folder = str(Path(__file__).parent)
    spec = importlib.util.spec_from_file_location("rnnjax_exported", f"{folder}/run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(folder)
    return module
