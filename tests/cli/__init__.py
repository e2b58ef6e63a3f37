"""The command line, and all that reaches a terminal."""
