"""The task 'memory'."""
