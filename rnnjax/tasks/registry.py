"""Tasks by the names that a config has for them."""

import importlib

from rnnjax.class_import import describe_foreign_class, is_class_path
from rnnjax.config.task_schema import find_schema, import_task
from rnnjax.errors import InputError
from rnnjax.tasks.task import Task


def find_task(name: str) -> type[Task]:
    """Returns the class of a task.

    Args:
      name: of a task of the package, a folder beside this file, or `package.module:ClassName`,
        whose module is imported, and so run.

    Raises:
      InputError: there is no such task.
    """
    if is_class_path(name):
        return import_task(name)
    find_schema(name)
    return importlib.import_module(f"rnnjax.tasks.{name}.task").TASK


def is_in_package(name: str) -> bool:
    """Returns whether finding a task imports no module from outside the package."""
    return not is_class_path(name)


def check_in_package(name: str) -> None:
    """Raises InputError if finding a task would import a module from outside the package."""
    if not is_in_package(name):
        module, _, class_name = name.partition(":")
        raise InputError(describe_foreign_class(module, class_name))
