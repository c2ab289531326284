"""Configs: the schema of a run's settings, their validation, and the config files there are.

A config file fills an `ml_collections.ConfigDict` that starts from `defaults()`; `load_config`
turns it into a frozen `Config`, the only form that the rest of the package reads.
"""

from rnnjax.config.loading import load_config
from rnnjax.config.parsing import (
    PATH_KEYS,
    changed_values,
    check_key,
    defaults,
    differences,
    key_paths,
    parse,
    parse_recorded,
    replicate_configs,
)
from rnnjax.config.schema import Config, flat
from rnnjax.config.sections import AcknowledgedConfig

__all__ = [
    "PATH_KEYS",
    "AcknowledgedConfig",
    "Config",
    "changed_values",
    "check_key",
    "defaults",
    "differences",
    "flat",
    "key_paths",
    "load_config",
    "parse",
    "parse_recorded",
    "replicate_configs",
]
