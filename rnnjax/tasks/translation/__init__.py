"""The task 'translation'."""
