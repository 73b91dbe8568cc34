"""Safe reader of files that `torch.save` wrote (.pt, .pth or any name); it runs nothing that they contain.

It returns tensors, numbers, text, and tables, lists and tuples of those. Any other name that a file refers to
is refused.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from inverters.errors import CheckpointError
from inverters.generators.plain_pickle import DAMAGE, PlainUnpickler, check_key, shown
from inverters.generators.small_files import open_regular
from inverters.generators.unpickle import (
    NUMBERS,
    STORAGES,
    TORCH_MAGIC,
    TORCH_PROTOCOL,
    Function,
    PlainDict,
    StorageName,
)

LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""First bytes of torch's file form before 2020: its pickled magic number."""
_DAMAGE = (zipfile.BadZipFile, *DAMAGE)


class _StateDict(PlainDict):
    """Stand-in for OrderedDict; the modules' versions that state dicts carry are dropped."""

    def __setstate__(self, state: object) -> None:
        return


class _Options(PlainDict):
    """Stand-in for argparse's Namespace: its attributes as a table."""

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, dict):
            raise CheckpointError("the file holds options that are not a table")
        for key in state:
            check_key(key)
        self.update(state)


def _encoded(text: object, encoding: object) -> bytes:
    """Bytes in old pickle protocols: text of which each character is a byte."""
    if not isinstance(text, str) or encoding != "latin1":
        raise CheckpointError("the file holds bytes in an unknown spelling")
    return text.encode("latin1")


_TABLE: dict[tuple[str, str], Any] = NUMBERS | {
    ("collections", "OrderedDict"): _StateDict,
    ("argparse", "Namespace"): _Options,
    ("_codecs", "encode"): Function(_encoded),
}


class _Unpickler(PlainUnpickler):
    """Unpickler whose `storage(key, dtype, numel)` gives the numbers of a storage."""

    def __init__(
        self, file: BinaryIO, storage: Callable[[str, np.dtype[Any], int], npt.NDArray[Any]]
    ) -> None:
        super().__init__(file)
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in STORAGES:
            return StorageName(name)
        if (module, name) not in _TABLE:
            raise CheckpointError(
                f"it refers to '{shown(f'{module}.{name}')}', which is no plain data; it is refused"
            )
        found = _TABLE[module, name]
        # A new subclass each time, so that a stream cannot alter what another stream gets.
        return type(name, (found,), {}) if isinstance(found, type) else found

    def persistent_load(self, pid: Any) -> npt.NDArray[Any]:
        if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage"):
            raise CheckpointError("it holds a reference that is not to a tensor's numbers")
        kind, key, numel = pid[1], pid[2], pid[4]
        if not isinstance(kind, StorageName) or not isinstance(key, str) or type(numel) is not int:
            raise CheckpointError("a tensor's storage has an unknown type")
        return self._storage(key, STORAGES[kind], numel)


def is_torch_archive(path: Path) -> bool:
    """Whether `torch.save` wrote a file, judged by its content."""
    with open_regular(path) as file:
        start = file.read(len(LEGACY_START))
    if start == LEGACY_START:
        return True
    if not start.startswith(b"PK"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/data.pkl") for name in archive.namelist())
    except _DAMAGE:
        return False


def read_torch_file(path: Path) -> Any:
    """Return the object that `torch.save` wrote to `path`, in its present form (zip) or that before 2020.

    Raises:
        CheckpointError: the file is unreadable or damaged, or holds more than plain data; the message says
            what.
    """
    try:
        with open_regular(path) as file:
            if file.read(2) == b"PK":
                return _from_archive(path)
            file.seek(0)
            return _from_stream(file, path.stat().st_size)
    except CheckpointError as error:
        raise CheckpointError(f"'{path}' is not read: {error}") from None
    except OSError as error:
        raise CheckpointError(f"cannot read '{path}': {error.strerror or error}") from error
    except _DAMAGE as error:
        raise CheckpointError(
            f"'{path}' is damaged or was not written by torch.save ({type(error).__name__})"
        ) from error


def _from_archive(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        roots = [n.removesuffix("/data.pkl") for n in archive.namelist() if n.endswith("/data.pkl")]
        if len(roots) != 1:
            raise CheckpointError("it is an archive, but not one of torch's")
        # torch does not compress, so that no entry can be larger than the file.
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise CheckpointError("it is compressed, which torch's archives never are")
        if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
            raise CheckpointError("its entries lie over each other, which torch's never do")
        order = f"{roots[0]}/byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise CheckpointError("it was written on a big-endian machine; only little-endian files are read")
        known: dict[str, npt.NDArray[Any]] = {}

        def storage(key: str, dtype: np.dtype[Any], numel: int) -> npt.NDArray[Any]:
            if key not in known:
                data = archive.read(f"{roots[0]}/data/{key}")
                if len(data) != numel * dtype.itemsize:
                    raise CheckpointError("a tensor's storage has not the length that is written beside it")
                known[key] = np.frombuffer(data, dtype).copy()
            return known[key]

        return _Unpickler(io.BytesIO(archive.read(f"{roots[0]}/data.pkl")), storage).load()


def _from_stream(file: BinaryIO, size: int) -> Any:
    """Magic number, protocol, system, the object, the keys of its storages, then their numbers."""
    empty: dict[str, npt.NDArray[Any]] = {}

    def storage(key: str, dtype: np.dtype[Any], numel: int) -> npt.NDArray[Any]:
        if key not in empty:
            taken = sum(array.nbytes for array in empty.values())
            if not 0 <= numel * dtype.itemsize <= size - taken:
                raise CheckpointError("a tensor's storage is longer than the file")
            empty[key] = np.zeros(numel, dtype)
        return empty[key]

    magic, protocol, system = (_Unpickler(file, storage).load() for _ in range(3))
    if magic != TORCH_MAGIC or protocol != TORCH_PROTOCOL or not isinstance(system, dict):
        raise CheckpointError("it was not written by torch.save")
    if system.get("little_endian") is not True:
        raise CheckpointError("it was written on a big-endian machine; only little-endian files are read")
    found = _Unpickler(file, storage).load()
    for key in _Unpickler(file, storage).load():
        check_key(key)
        array = empty[key]
        if int.from_bytes(file.read(8), "little", signed=True) != array.size:
            raise CheckpointError("a tensor's storage has not the length that is written beside it")
        array[...] = np.frombuffer(file.read(array.nbytes), array.dtype)
    return found
