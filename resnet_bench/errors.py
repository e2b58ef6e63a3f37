"""The two ways a command ends badly: the user can mend it (exit 2), or the work failed (exit 1)."""


class UsageError(Exception):
    """Bad input. The message is one line: what is wrong, where, and what to do. Exit code 2."""

    exit_code = 2


class Failure(Exception):
    """The input was good but the work could not be done. Exit code 1."""

    exit_code = 1
