"""The errors that a caller can cause and mend."""


class InputError(ValueError):
    """Something given from outside cannot be used: a config, a file, a text, a command line.

    The message says what was given, what was expected and what to do. Command lines print it
    alone, without a traceback, and exit with status 2.
    """
