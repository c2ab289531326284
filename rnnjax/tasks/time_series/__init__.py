"""The time series task: a class or a number for a series or each step, or its next values."""
