"""Safe reader of official EG3D snapshots (.pkl); it runs nothing that they contain.

The container is a pickle whose objects carry their own source text, which the public loader executes. Here
every global name is looked up in a short table of inert stand-ins, and any other name is refused. Stand-ins
only hold plain data, so that the result is tensors, numbers and text.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from inverters.errors import CheckpointError
from inverters.generators.plain_pickle import DAMAGE, PlainUnpickler, StandIn, check_key, shown
from inverters.generators.small_files import open_regular

TORCH_MAGIC = 0x1950A86A20F9469CFC6C
TORCH_PROTOCOL = 1001
STORAGES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
_SCALAR_DTYPES = {"f4", "f8", "i4", "i8", "b1"}
_INERT_MODULES = ("training.", "torch.nn.modules.")
"""Modules whose classes appear as objects without source; they become `Module` records."""
_MOST_LEVELS, _MOST_TENSORS = 16, 10_000
_MOST_DIMENSIONS = 16


class Module(StandIn):
    """Record of a network module: its class name, and its attributes as plain data."""

    class_name: str = ""
    attributes: Mapping[str, Any] = MappingProxyType({})

    def __setstate__(self, state: object) -> None:
        self.class_name = self.class_name or type(self).__name__
        self.attributes = _text_dict(state, "a module's state")

    def tensors(self) -> dict[str, Tensor]:
        """Return parameters and buffers of this module and its submodules, as a state dict does."""
        found: dict[str, Tensor] = {}
        self._collect("", found, [], 0)
        return found

    def _collect(self, prefix: str, found: dict[str, Tensor], seen: list[str], level: int) -> None:
        """seen: one entry for each module that was visited, as one may stand in many places."""
        seen.append(prefix)
        if level > _MOST_LEVELS or max(len(found), len(seen)) > _MOST_TENSORS:
            raise CheckpointError("the modules are nested deeper, or are more, than any generator's")
        for group in ("_parameters", "_buffers"):
            for name, value in _text_dict(self.attributes.get(group, {}), group).items():
                if isinstance(value, Tensor):
                    found[prefix + name] = value
                elif value is not None:
                    raise CheckpointError(f"'{shown(prefix + name)}' is a {type(value).__name__}, no tensor")
        for name, child in _text_dict(self.attributes.get("_modules", {}), "_modules").items():
            if isinstance(child, Module):
                child._collect(f"{prefix}{name}.", found, seen, level + 1)
            elif child is not None:
                raise CheckpointError(f"'{shown(prefix + name)}' is a {type(child).__name__}, no module")


class PlainDict(dict[Any, Any], StandIn):
    """Stand-in for OrderedDict and EasyDict; takes items, no state."""

    def __init__(self, items: Iterable[tuple[Any, Any]] = ()) -> None:
        for key, value in items:
            check_key(key)
            self[key] = value

    def __setstate__(self, state: object) -> None:
        raise CheckpointError("the file sets the state of a dictionary, which snapshots never do")


class Function(StandIn):
    """A callable of the table, without state that a stream could set."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *args: Any) -> Any:
        """Call the function."""
        return self._call(*args)

    def __setstate__(self, state: object) -> None:
        raise CheckpointError("the file sets the state of a function, which snapshots never do")


class DtypeRecord(StandIn):
    """A numpy dtype of one of the plain kinds."""

    def __init__(self, code: object) -> None:
        if not isinstance(code, str) or code not in _SCALAR_DTYPES:
            raise CheckpointError(
                f"the file holds a numpy value of type '{shown(code)}'; only plain numbers are read"
            )
        self.dtype = np.dtype(code).newbyteorder("<")

    def __setstate__(self, state: object) -> None:
        if not (isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", "|")):
            raise CheckpointError("the file holds a numpy type in an unknown byte order")


def _text_dict(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(k, str) for k in value):
        raise CheckpointError(f"{what} is not a table of names")
    return value


def _persistent_object(meta: object) -> Module:
    """Return an object that carries its source (`module_src`, not read) as a module record, or refuse it."""
    meta = _text_dict(meta, "a persistent object")
    if meta.get("type") != "class" or not isinstance(meta.get("class_name"), str):
        raise CheckpointError(f"a persistent object of unknown type '{shown(meta.get('type'))}'")
    module = Module()
    module.class_name = meta["class_name"]
    module.__setstate__(meta.get("state"))
    return module


def rebuild_scalar(dtype: object, payload: object) -> int | float | bool:
    """Return a numpy number of one of the plain kinds from its bytes."""
    if not isinstance(dtype, DtypeRecord) or not isinstance(payload, bytes):
        raise CheckpointError("the file holds a numpy value that is not a plain number")
    if len(payload) != dtype.dtype.itemsize:
        raise CheckpointError("the file holds a numpy number of the wrong length")
    number: int | float | bool = np.frombuffer(payload, dtype.dtype)[0].item()
    return number


def rebuild_tensor(storage: object, offset: object, size: object, stride: object, *_: object) -> Tensor:
    """Return a strided view of a storage, after checking its bounds."""
    if not isinstance(storage, np.ndarray) or not isinstance(size, tuple) or not isinstance(stride, tuple):
        raise CheckpointError("a tensor is not built from a storage, a size and a stride")
    numbers = (offset, *size, *stride)
    if (
        len(size) != len(stride)
        or len(size) > _MOST_DIMENSIONS
        or not all(type(n) is int and 0 <= n < 1 << 63 for n in numbers)
        or not isinstance(offset, int)
    ):
        raise CheckpointError("a tensor has a size or stride that is not a natural number")
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if math.prod(size) > storage.size or (math.prod(size) and last >= storage.size):
        raise CheckpointError("a tensor reaches beyond its storage")
    return torch.as_strided(torch.from_numpy(storage), size, stride, offset)


def rebuild_parameter(data: object, *_: object) -> Tensor:
    """Return the tensor of a parameter."""
    if not isinstance(data, Tensor):
        raise CheckpointError("a parameter is not a tensor")
    return data


class _StorageUnpickler(PlainUnpickler):
    """Unpickler of the head of a legacy storage stream: numbers, text and one storage reference."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in STORAGES:
            return StorageName(name)
        raise CheckpointError(
            f"the file refers to '{shown(f'{module}.{name}')}' inside a tensor; it is refused"
        )

    def persistent_load(self, pid: Any) -> Any:
        return pid


class StorageName(str):
    """Name of a storage type."""


def _storage(stream: object) -> npt.NDArray[Any]:
    """Return the numbers of one storage from its legacy torch stream; its device is ignored."""
    if not isinstance(stream, bytes):
        raise CheckpointError("a tensor's storage is not bytes")
    buffer = io.BytesIO(stream)
    magic, protocol, system, reference, _keys = (_StorageUnpickler(buffer).load() for _ in range(5))
    if magic != TORCH_MAGIC or protocol != TORCH_PROTOCOL:
        raise CheckpointError("a tensor's storage is not in torch's legacy form")
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise CheckpointError(
            "a tensor was written on a big-endian machine; only little-endian files are read"
        )
    if not (isinstance(reference, tuple) and len(reference) >= 5 and reference[0] == "storage"):
        raise CheckpointError("a tensor's storage has no reference")
    kind, numel = reference[1], reference[4]
    if not isinstance(kind, StorageName) or type(numel) is not int:
        raise CheckpointError("a tensor's storage has an unknown type")
    dtype = STORAGES[kind]
    stored = int.from_bytes(buffer.read(8), "little", signed=True)
    data = buffer.read()
    if stored != numel or len(data) != numel * dtype.itemsize:
        raise CheckpointError(
            f"a tensor's storage has {len(data)} bytes where {numel * dtype.itemsize} were expected"
        )
    return np.frombuffer(data, dtype).copy()


NUMBERS: dict[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_parameter"): Function(rebuild_parameter),
    ("torch._utils", "_rebuild_tensor_v2"): Function(rebuild_tensor),
    ("numpy", "dtype"): Function(lambda code, *_: DtypeRecord(code)),
    ("numpy.core.multiarray", "scalar"): Function(rebuild_scalar),
    ("numpy._core.multiarray", "scalar"): Function(rebuild_scalar),
}
"""Stand-ins for the names that tensors and numpy's scalars refer to, by module and name."""

_TABLE: dict[tuple[str, str], Any] = NUMBERS | {
    ("collections", "OrderedDict"): PlainDict,
    ("dnnlib.util", "EasyDict"): PlainDict,
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): Function(_persistent_object),
    ("torch.storage", "_load_from_bytes"): Function(_storage),
}


class _SnapshotUnpickler(PlainUnpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _TABLE:
            found = _TABLE[module, name]
            # A new subclass each time, so that a stream cannot alter what another stream gets.
            return type(name, (found,), {}) if isinstance(found, type) else found
        if module.startswith(_INERT_MODULES) and name.isidentifier():
            return type(name, (Module,), {})
        raise CheckpointError(
            f"the file refers to '{shown(f'{module}.{name}')}', which a snapshot never needs; it is refused"
        )

    def persistent_load(self, pid: Any) -> Any:
        raise CheckpointError("the file holds references to data outside it; it is not a snapshot")


def read_snapshot(path: Path, network: str = "G_ema") -> dict[str, Any]:
    """Return the top table of an official snapshot without executing anything.

    Args:
        path: the snapshot (.pkl).
        network: the entry that must be a Module: `G_ema` of EG3D, `E` of IDE-3D's encoder.

    Raises:
        CheckpointError: the file is unreadable or damaged, or refers to a name that is not in the table; the
            message says what.
    """
    try:
        with open_regular(path) as file:
            top = _SnapshotUnpickler(file).load()
    except OSError as error:
        raise CheckpointError(f"cannot read '{path}': {error.strerror or error}") from error
    except CheckpointError as error:
        raise CheckpointError(f"'{path}' is not a safe EG3D snapshot: {error}") from None
    except DAMAGE as error:
        raise CheckpointError(
            f"'{path}' is damaged or is not an EG3D snapshot ({type(error).__name__})"
        ) from error
    if not isinstance(top, dict) or not isinstance(top.get(network), Module):
        raise CheckpointError(f"'{path}' has no network '{network}'; it is not the snapshot expected here")
    return top
