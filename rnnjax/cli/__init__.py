"""The command line: one table of commands, one parser, one way to start and to end."""
