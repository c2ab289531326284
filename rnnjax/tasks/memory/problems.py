"""The synthetic problems by their `config.memory.problem`."""

from rnnjax.tasks.memory.long_memory import LONG_MEMORY
from rnnjax.tasks.memory.problem import Problem
from rnnjax.tasks.memory.state_tracking import STATE_TRACKING

PROBLEMS: dict[str, Problem] = {**LONG_MEMORY, **STATE_TRACKING}
"""Problems by their names."""
