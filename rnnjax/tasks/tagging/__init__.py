"""The task 'tagging'."""
