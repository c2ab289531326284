"""The task 'classification'."""
