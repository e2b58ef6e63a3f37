"""The two ways a command ends badly: the user can mend it (exit 2), or the work failed (exit 1)."""


class UsageError(Exception):
    """Bad input. The message is one line: what is wrong, where, and what to do. Exit code 2."""

    exit_code = 2


class Failure(Exception):
    """The input was good but the work could not be done. Exit code 1."""

    exit_code = 1


def first_line(error: BaseException) -> str:
    """Kind and first line of an error, of 200 characters at most."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def is_out_of_memory(error: Exception) -> bool:
    """Is it that, by any of the names that Python, the CPU's allocator and CUDA's libraries give it."""
    texts = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
    return isinstance(error, MemoryError) or any(text in str(error) for text in texts)
