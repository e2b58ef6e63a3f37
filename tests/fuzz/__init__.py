"""Every reader of a file against mutated files: a result or one line, never a traceback, in bounded memory."""
