"""Unpickler for streams of unknown origin: plain data and stand-ins only, in memory as the stream is long.

The standard library's C unpickler makes room for an entry of its memo by number, so that ten bytes take
gigabytes. Here the memo is a table, nothing longer than the rest of the stream is read, a key of a table is
text or a number (the hash of nested tuples takes for ever), and only our own stand-ins take a state.
"""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from inverters.errors import CheckpointError

DAMAGE = (
    pickle.UnpicklingError,
    struct.error,
    AssertionError,
    RuntimeError,
    EOFError,
    AttributeError,
    TypeError,
    ValueError,
    IndexError,
    KeyError,
    ImportError,
    OverflowError,
    MemoryError,
)
"""Errors of the standard unpickler for a truncated or invalid stream."""
_MOST_SHOWN = 80
_MOST_STEPS = 5_000_000
_MOST_MADE = 8
"""Bytes and entries that the calls of a stream may read and make for each byte of it; numbers are read once
and made once.
"""


def shown(value: object) -> str:
    """A value of a stream in a message: text, cut and without line breaks, or the name of another type."""
    if not isinstance(value, str):
        return type(value).__name__
    text = "".join(c if c.isprintable() else "?" for c in value[:_MOST_SHOWN])
    return text if len(value) <= _MOST_SHOWN else f"{text}..."


def check_key(key: object) -> None:
    """Raise CheckpointError unless a key is text or a number."""
    if not isinstance(key, str | int | float):
        raise CheckpointError(f"a table has a key of type {type(key).__name__}, which no plain data has")


class StandIn:
    """Base of the classes and functions that may take part in a stream."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        raise CheckpointError("the file sets the state of an object that has none")


class _Bounded:
    """A binary file of which no more is asked than it holds."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        at = file.tell()
        self.left = file.seek(0, os.SEEK_END) - at
        file.seek(at)

    def read(self, count: int) -> bytes:
        """Exactly so many bytes; raises EOFError."""
        if count > self.left:
            raise EOFError("the stream is cut off")
        self.left -= count
        return self._file.read(count)

    def readline(self) -> bytes:
        """The rest of a line."""
        line = self._file.readline()
        self.left -= len(line)
        return line


class _Counted(dict[int, Any]):
    """The table of opcodes, which counts those that are looked up."""

    left = _MOST_STEPS

    def __getitem__(self, code: int) -> Any:
        self.left -= 1
        if self.left < 0:
            raise CheckpointError(f"the file has more than {_MOST_STEPS} steps, which no plain data has")
        return super().__getitem__(code)


class PlainUnpickler(pickle._Unpickler):
    """Reads one object; subclasses say what a global name and a persistent id stand for."""

    stateful: tuple[type, ...] = (StandIn,)
    """Types of objects that a stream may give a state."""
    # Of the standard unpickler, unknown to its stubs.
    stack: list[Any]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, file: BinaryIO) -> None:
        bounded = _Bounded(file)
        self._may_make = _MOST_MADE * bounded.left
        self.dispatch = _Counted(pickle._Unpickler.dispatch | _OWN)  # type: ignore[misc]
        super().__init__(bounded)

    def set_items(self, items: list[Any]) -> None:
        """Keys and values in turn, into the table on top of the stack."""
        table = self.stack[-1]
        if not isinstance(table, dict) or len(items) % 2:
            raise CheckpointError("the file sets entries of what is no table")
        for key, value in zip(items[::2], items[1::2], strict=True):
            check_key(key)
            table[key] = value

    def extend(self, items: list[Any]) -> None:
        """Entries of the list on top of the stack."""
        if not isinstance(self.stack[-1], list):
            raise CheckpointError("the file appends to what is no list")
        self.stack[-1].extend(items)

    def add_items(self, items: list[Any]) -> None:
        """Entries of the set on top of the stack."""
        if not isinstance(self.stack[-1], set):
            raise CheckpointError("the file adds to what is no set")
        for item in items:
            check_key(item)
        self.stack[-1].update(items)

    def give_state(self) -> None:
        """The state of an object that may have one."""
        state, taker = self.stack.pop(), self.stack[-1]
        may_take = isinstance(taker, self.stateful)  # a name, so that the type stays Any
        if not may_take:
            raise CheckpointError("the file sets the state of an object that has none")
        self._charge(state)
        taker.__setstate__(state)

    def call(self) -> None:
        """A call of one of our stand-ins."""
        args, called = self.stack.pop(), self.stack.pop()
        if not isinstance(args, tuple) or not (isinstance(called, StandIn) or _is_own(called)):
            raise CheckpointError("the file calls what is no function")
        self._charge(*args)
        found = called(*args)
        self._charge(found.data if isinstance(found, np.ndarray) else found)
        self.stack.append(found)

    def make(self) -> None:
        """A new stand-in, by its class."""
        args, made = self.stack.pop(), self.stack.pop()
        if args != () or not _is_own(made):
            raise CheckpointError("the file makes an object that no plain data has")
        self.stack.append(made.__new__(made))

    def _charge(self, *values: object) -> None:
        """What the calls of one stream read and make is bounded by its length."""
        for value in values:
            inner = value.values() if isinstance(value, dict) else ()
            for part in (value, *(one for one in inner if isinstance(one, dict))):
                self._may_make -= _size(part)
        if self._may_make < 0:
            raise CheckpointError("the file makes more data than it holds")

    def refuse(self) -> None:
        """An opcode that plain data has no use for."""
        raise CheckpointError("the file uses a form of pickle that plain data does not need")


def _is_own(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, StandIn)


def _size(value: object) -> int:
    if isinstance(value, memoryview):
        return value.nbytes
    return len(value) if isinstance(value, bytes | str | dict | list | tuple) else 0


def _new_table(self: PlainUnpickler) -> None:
    items = self.pop_mark()
    self.stack.append({})
    self.set_items(items)


def _new_set(self: PlainUnpickler) -> None:
    items = self.pop_mark()
    self.stack.append(set())
    self.add_items(items)


def _one_entry(self: PlainUnpickler) -> None:
    value, key = self.stack.pop(), self.stack.pop()
    self.set_items([key, value])


_OWN: dict[int, Any] = {
    pickle.SETITEM[0]: _one_entry,
    pickle.SETITEMS[0]: lambda self: self.set_items(self.pop_mark()),
    pickle.DICT[0]: _new_table,
    pickle.APPEND[0]: lambda self: self.extend([self.stack.pop()]),
    pickle.APPENDS[0]: lambda self: self.extend(self.pop_mark()),
    pickle.ADDITEMS[0]: lambda self: self.add_items(self.pop_mark()),
    pickle.FROZENSET[0]: _new_set,
    pickle.BUILD[0]: PlainUnpickler.give_state,
    pickle.REDUCE[0]: PlainUnpickler.call,
    pickle.NEWOBJ[0]: PlainUnpickler.make,
    pickle.NEWOBJ_EX[0]: PlainUnpickler.refuse,
    pickle.BYTEARRAY8[0]: PlainUnpickler.refuse,
    pickle.INST[0]: PlainUnpickler.refuse,
    pickle.OBJ[0]: PlainUnpickler.refuse,
}
"""Opcodes that are read in another way than the standard library does."""
