"""Files that torch.save wrote, read within bounds: nothing in them is called, none takes much more memory than it has.

torch's own restricted loader calls nothing of the file's either, but it believes what a file says of its lengths: it
unpacks what is deflated, and makes room for storages before it looks whether they are there. Here a tensor is made of
bytes that are there, plain data are read, and a few names that stand beside weights are known and left alone.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from resnet_bench.text import one_line

MOST_PICKLED = 8 << 20  # bytes of what describes the tensors: of thousands of layers it is a megabyte
MOST_RECORDS = 65_536  # in one file
MOST_DIMENSIONS = 16
MOST_ARGUMENTS = 64  # of what a pickle calls
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # what files begin with that are no zip: before torch 1.6
DTYPES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64, "ComplexDoubleStorage": torch.complex128, "UntypedStorage": torch.uint8,
}  # fmt: skip
# What training scripts keep beside weights. It is read over: such an object is never made.
BESIDE = {
    "argparse": ("Namespace",),
    "builtins": (
        "set", "frozenset", "complex", "bytearray", "slice", "range",
        "list", "dict", "tuple", "str", "bytes", "int", "float", "bool", "object", "long", "unicode",
    ),
    "collections": ("defaultdict", "Counter", "deque"),
    "datetime": ("datetime", "date", "time", "timedelta", "timezone"),
    "numpy": ("dtype", "ndarray"),
    "pathlib": ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"),
    "pathlib._local": ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"),
    "torch": ("Size", "device"),
    "_codecs": ("encode",),
    **dict.fromkeys(("numpy.core.multiarray", "numpy._core.multiarray"), ("scalar", "_reconstruct")),
}  # fmt: skip


class Refused(Exception):
    """Not a file of torch.save, or damaged, or holds more than tensors and plain data; says which, in one line."""


class Other:
    """Stands for an object beside the weights that nobody needs."""


def loads(content: bytes | memoryview) -> Any:
    """What a file holds: dicts, lists, tuples, texts, numbers, tensors on the CPU, and `Other` for what is left alone.

    Args:
        content: of the file; as a zip or in the form before that.

    Raises:
        Refused: see there.
    """
    try:
        return _loads_legacy(content) if content[: len(LEGACY)] == LEGACY else _loads_zip(content)
    except Refused:
        raise
    except MemoryError:
        raise
    except Exception as error:  # a file that is none, or made on purpose, can raise anything
        raise Refused(f"not what torch.save writes ({_in_short(error)})") from None


def _in_short(error: Exception) -> str:
    return one_line(str(error).strip().split("\n")[0][:100] or type(error).__name__)


def _loads_zip(content: bytes | memoryview) -> Any:
    if bytes(content[:4]) != b"PK\x03\x04":
        raise Refused("not what torch.save writes")
    content = bytes(content)
    if content.count(b"PK\x01\x02") > MOST_RECORDS:
        raise Refused("too many records")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        records = archive.infolist()
        if any(record.compress_type != zipfile.ZIP_STORED for record in records):
            raise Refused("its records are compressed, which torch.save never does")
        if sum(record.file_size for record in records) > len(content):
            raise Refused("its records are larger than the file")
        (pickled,) = (record for record in records if record.filename.rpartition("/")[2] == "data.pkl")
        place = pickled.filename.removesuffix("data.pkl")
        names = {record.filename for record in records}
        if f"{place}byteorder" in names and archive.read(f"{place}byteorder") != b"little":
            raise Refused("its bytes are in the order of another kind of machine")
        _check_pickled(pickled.file_size)
        storages = _Storages(lambda key: archive.read(f"{place}data/{key}"))
        return _Reader(io.BytesIO(archive.read(pickled)), storages.find).load()


def _loads_legacy(content: bytes | memoryview) -> Any:
    """A magic number, a version, facts about the machine, the object, the keys of its storages, and each of them."""
    content = bytes(content)
    file = io.BytesIO(content[:MOST_PICKLED])
    storages = _Storages(None)
    _, version, facts = (_Reader(file, storages.find).load() for _ in range(3))
    if version != 1001 or facts.get("little_endian") is not True:
        raise Refused("its bytes are in the order of another kind of machine")
    storages.room = len(content)
    value = _Reader(file, storages.find).load()
    keys = _Reader(file, storages.find).load()
    place = file.tell()
    _check_pickled(place + 1)
    for key in keys:
        bytes_of = storages.there[key].view(torch.uint8)
        length = len(bytes_of) // storages.there[key].itemsize
        if int.from_bytes(content[place : place + 8], "little") != length or place + 8 + len(bytes_of) > len(content):
            raise Refused("it ends before its tensors do")
        if len(bytes_of):
            there = bytearray(content[place + 8 : place + 8 + len(bytes_of)])
            bytes_of.copy_(torch.frombuffer(there, dtype=torch.uint8))
        place += 8 + len(bytes_of)
    if len(keys) != len(storages.there):
        raise Refused("it ends before its tensors do")
    return value


def _check_pickled(size: int) -> None:
    if size > MOST_PICKLED:
        raise Refused(f"more than {MOST_PICKLED >> 20} MB of it are no tensors")


class _Storages:
    """The storages of one file, each made once; none that is larger than what the file has for it.

    Attributes:
        there: one-dimensional tensors of their types, by key.
        room: bytes that may still be asked for, where storages are filled later.
    """

    def __init__(self, read: Callable[[str], bytes] | None) -> None:
        self.read = read
        self.there: dict[str, Tensor] = {}
        self.room = 0

    def find(self, name: Any) -> Tensor:
        """The storage that a pickle names: ("storage", type, key, where it was, length, ...)."""
        if type(name) is not tuple or len(name) not in (5, 6) or name[0] != "storage" or name[5:] not in ((), (None,)):
            raise Refused("not what torch.save writes")
        _, dtype, key, _, length = name[:5]
        if not (isinstance(dtype, torch.dtype) and type(key) is str and type(length) is int and 0 <= length < 1 << 48):
            raise Refused("not what torch.save writes")
        if key not in self.there:
            self.there[key] = self._made(key, dtype, length)
        found = self.there[key]
        if found.dtype != dtype or len(found) != length:
            raise Refused("a storage of two types or lengths")
        return found

    def _made(self, key: str, dtype: torch.dtype, length: int) -> Tensor:
        if self.read is None:
            self.room -= length * dtype.itemsize
            if self.room < 0:
                raise Refused("it is smaller than its tensors")
            return torch.zeros(length, dtype=dtype)
        content = self.read(key)
        if len(content) != length * dtype.itemsize:
            raise Refused(f"a storage of {len(content):,} bytes that should hold {length:,} values of {dtype}")
        return torch.frombuffer(bytearray(content), dtype=dtype) if content else torch.zeros(0, dtype=dtype)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    """A tensor of values that its storage has, each once."""
    if not isinstance(storage, Tensor) or type(size) is not tuple or type(stride) is not tuple:
        raise Refused("not what torch.save writes")
    if len(size) != len(stride) or len(size) > MOST_DIMENSIONS:
        raise Refused("a tensor of too many dimensions")
    if any(type(number) is not int or not 0 <= number < 1 << 48 for number in (offset, *size, *stride)):
        raise Refused("a tensor of an impossible shape")
    count = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if count else -1
    if max(count, last + 1) > len(storage):
        raise Refused(f"a tensor of {'x'.join(map(str, size))} values, of which it holds {len(storage):,}")
    return storage.as_strided(size, stride, offset if count else 0)


def _typed_tensor(storage: Any, offset: Any, size: Any, stride: Any, _: Any, __: Any, dtype: Any, *___: Any) -> Tensor:
    """The same for types that have no storage of their own."""
    if not isinstance(storage, Tensor) or not isinstance(dtype, torch.dtype):
        raise Refused("not what torch.save writes")
    return _tensor(storage.view(dtype), offset, size, stride)


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _empty() -> OrderedDict[Any, Any]:
    return OrderedDict()  # its items are set later


def _other(*_: Any) -> Other:
    return Other()


KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _empty,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _typed_tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("torch.storage", "UntypedStorage"): torch.uint8,
    **{("torch", name): dtype for name, dtype in DTYPES.items()},
    **{(module, name): _other for module, names in BESIDE.items() for name in names},
}
FUNCTIONS = {id(found) for found in KNOWN.values() if callable(found)}
OPCODES = (
    "PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1",
    "BININT2", "LONG1", "BINFLOAT", "BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES",
    "SHORT_BINBYTES", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "EMPTY_DICT", "APPEND",
    "APPENDS", "SETITEM", "SETITEMS", "GLOBAL", "STACK_GLOBAL", "REDUCE", "NEWOBJ", "BUILD", "BINPERSID", "BINPUT",
    "LONG_BINPUT", "BINGET", "LONG_BINGET", "MEMOIZE",
)  # fmt: skip
_Unpickler: Any = vars(pickle)["_Unpickler"]  # the one in Python: it believes no lengths


class _Reader(_Unpickler):  # type: ignore[misc]
    """Reads plain data, and calls what is in FUNCTIONS, which are ours."""

    dispatch: dict[int, Callable[[Any], None]] = {  # noqa: RUF012
        code: _Unpickler.dispatch[code] for code in (getattr(pickle, name)[0] for name in OPCODES)
    }

    def __init__(self, file: io.BytesIO, find_storage: Callable[[Any], Tensor]) -> None:
        super().__init__(file)
        self.find_storage = find_storage

    def persistent_load(self, name: Any) -> Tensor:
        """A storage."""
        return self.find_storage(name)

    def find_class(self, module: str, name: str) -> Any:
        """What a name stands for here."""
        module = {"__builtin__": "builtins"}.get(module, module)
        if (module, name) in KNOWN:
            return KNOWN[module, name]
        if module == "torch" and isinstance(dtype := getattr(torch, name, None), torch.dtype):
            return dtype
        if module == "numpy.dtypes":
            return _other
        raise Refused(
            f"holds {one_line(f'{module}.{name}'[:80])}, which is neither a tensor nor plain data, and nothing in a "
            "file is executed; store the state dict alone (torch.save(model.state_dict(), ...)), or as safetensors"
        )

    def _call(self) -> None:
        arguments = self.stack.pop()
        known = id(self.stack[-1]) in FUNCTIONS
        if not known or type(arguments) is not tuple or len(arguments) > MOST_ARGUMENTS:
            raise Refused("not what torch.save writes")
        self.stack[-1] = self.stack[-1](*arguments)

    def _set_of_others(self) -> None:
        self.stack.append(Other())

    def _ignore_items(self) -> None:
        self.pop_mark()

    def _ignore_state(self) -> None:  # of an OrderedDict: which versions its modules had
        self.stack.pop()

    def _set(self, values: list[Any]) -> None:
        for key, value in zip(values[::2], values[1::2], strict=True):
            if type(key) not in (str, int, float, bool, bytes, type(None)) and not isinstance(key, Other):
                raise Refused("not what torch.save writes")  # a key of a million levels would be looked through
            if isinstance(self.stack[-1], dict):
                self.stack[-1][key] = value

    def _set_items(self) -> None:
        self._set(self.pop_mark())

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def _append(self, values: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(values)

    def _append_items(self) -> None:
        self._append(self.pop_mark())

    def _append_item(self) -> None:
        self._append([self.stack.pop()])

    dispatch |= {
        pickle.REDUCE[0]: _call, pickle.NEWOBJ[0]: _call, pickle.BUILD[0]: _ignore_state,
        pickle.SETITEM[0]: _set_item, pickle.SETITEMS[0]: _set_items,
        pickle.APPEND[0]: _append_item, pickle.APPENDS[0]: _append_items,
        pickle.EMPTY_SET[0]: _set_of_others, pickle.ADDITEMS[0]: _ignore_items,
    }  # fmt: skip
