"""The errors that a caller can cause and mend."""


class InputError(ValueError):
    """Something given from outside cannot be used: a config, a file, a text, a command line.

    The message says what was given, what was expected and what to do. Command lines print it
    alone, without a traceback, and exit with status 2.
    """


def is_out_of_memory(error: Exception) -> bool:
    """Returns whether an error reports that the device or the machine ran out of memory."""
    # XLA has a status code for it on a GPU, and none on a CPU.
    messages = "RESOURCE_EXHAUSTED", "Out of memory"
    return isinstance(error, MemoryError) or any(text in str(error) for text in messages)
