"""Functions of the user's own, named `package.module:function`: where their source lies, what it is, and the function.

Nothing of the user's is executed before `load_function` is called; needs no torch.
"""

from __future__ import annotations

import hashlib
import importlib
import re
import sys
import traceback
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from resnet_bench.errors import UsageError, first_line

FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_loaded: dict[str, str] = {}  # module -> SHA-256 of the source that this process has of it


def is_function(text: str) -> bool:
    """Is it written as `package.module:function`."""
    return FUNCTION.fullmatch(text) is not None


def find_source(function: str) -> Path:
    """The file that a function's module is in: in the current folder, else along PYTHONPATH, else installed.

    Raises:
        UsageError: there is no such module, or none with a source.
    """
    if not is_function(function):
        raise UsageError(f"{function!r} does not name a function; write package.module:function, as in mynets:plain")
    module = function.partition(":")[0]
    spec = _find_spec(module)
    if spec is None:
        raise UsageError(
            f"{function}: no module {module!r} was found: neither in the current folder ({Path.cwd()}), nor in those "
            "that PYTHONPATH names, nor among the installed packages"
        )
    if not spec.has_location or Path(spec.origin or "").suffix != ".py":
        raise UsageError(f"{function}: {module!r} is no module with a source in Python (a .py file); name the module")
    return Path(spec.origin or "")


def source_digest(function: str) -> str:
    """SHA-256 of the file that a function's module is in. UsageError as `find_source`, or if it cannot be read."""
    path = find_source(function)
    try:
        source = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{function}: {path} cannot be read: {error.strerror}") from None
    if function.partition(":")[2].encode() not in source and b"import *" not in source:
        raise UsageError(f"{function}: {path} has no function {function.partition(':')[2]!r}")
    return hashlib.sha256(source).hexdigest()


def load_function(function: str) -> Callable[..., Any]:
    """Import the function, as its source is now: this executes the module.

    Raises:
        UsageError: as `find_source`; the module cannot be imported, or has no such function.
    """
    path, digest = find_source(function), source_digest(function)
    module, _, name = function.partition(":")
    there = sys.modules.get(module)
    if there is not None and Path(getattr(there, "__file__", None) or "").resolve() != path.resolve():
        raise UsageError(f"{function}: {module!r} is the name of another module ({there!r}); give {path} another name")
    try:
        if there is None:
            loaded = importlib.import_module(module)
        else:  # who has imported it may have done so before it was edited
            loaded = there if _loaded.get(module) == digest else importlib.reload(there)
    except (Exception, SystemExit) as error:
        raise UsageError(f"{function}: {module} cannot be imported: {told(error, path)}") from None
    _loaded[module] = digest
    found = getattr(loaded, name, None)
    if not callable(found):
        raise UsageError(f"{function}: {path} has no function {name!r}")
    return found  # type: ignore[no-any-return]


def call(function: str, *arguments: Any) -> Any:
    """What the function gives; UsageError, with the line of its source, if it raises an error."""
    called = load_function(function)
    try:
        return called(*arguments)
    except MemoryError:
        raise
    except (Exception, SystemExit) as error:
        given = ", ".join(map(repr, arguments))
        raise UsageError(f"{function}({given}) raised {told(error, find_source(function))}") from None


def told(error: BaseException, path: Path) -> str:
    """An error of the user's code in one line, and where in that file it came from."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    return first_line(error) + (f" (line {lines[-1]} of {path})" if lines else "")


def data_name(function: str, reserved: frozenset[str] = frozenset()) -> str:
    """What the data are called that a function returns: by its name, in [a-z0-9._-]; not as a known dataset is."""
    name = re.sub(r"[^a-z0-9._-]+", "-", function.partition(":")[2].lower()).strip("-._") or "data"
    return f"{name}-own" if name in reserved else name


def look_in(folder: str) -> None:
    """Find modules in that folder too, first of all; so do the processes that this one starts."""
    if folder not in sys.path:
        sys.path.insert(0, folder)


def _find_spec(module: str) -> ModuleSpec | None:
    """Without importing anything, not even the packages that it is in, as importlib.util.find_spec would."""
    look_in(str(Path.cwd()))  # as `python` and `python -m` do, and a command that was installed does not
    importlib.invalidate_caches()
    name, search = "", None
    spec: ModuleSpec | None = None
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        finders = (finder.find_spec(name, search) for finder in sys.meta_path)
        spec = next((found for found in finders if found is not None), None)
        if spec is None:
            return None
        search = list(spec.submodule_search_locations or ())
    return spec
