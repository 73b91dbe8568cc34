"""Streams that cost more than they hold: a few bytes for gigabytes, or for ever."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from inverters.errors import CheckpointError
from inverters.generators.plain_pickle import PlainUnpickler
from inverters.generators.torch_file import read_torch_file
from inverters.generators.unpickle import PlainDict, read_snapshot

START = b"\x80\x04"
NESTED = b")" + b"q\x00h\x00\x86" * 60
"""A tuple of two of the one before, sixty times: its hash and its text take 2^60 steps."""
TABLE_CALL = b"ccollections\nOrderedDict\n"
BOMBS = {
    "an entry of the memo": START + b"Nr\xff\xff\xff\xff.",
    "an entry of the memo by text": START + b"Np4294967295\n.",
    "a frame": START + b"\x95" + b"\xff\xff\xff\xff\xff\x00\x00\x00" + b"N.",
    "bytes": START + b"\x8e" + b"\xff\xff\xff\xff\xff\x00\x00\x00" + b".",
    "text": START + b"X\xff\xff\xff\xff.",
    "a number": START + b"\x8b\xff\xff\xff\x7f.",
    "changeable bytes": b"\x80\x05\x96" + b"\xff\xff\xff\xff\x01\x00\x00\x00" + b".",
    "a nested key": START + b"}" + NESTED + b"Ns.",
    "nested keys": START + b"}(" + NESTED + b"Nu.",
    "a new table": START + b"(" + NESTED + b"Nd.",
    "a set": START + b"\x8f(" + NESTED + b"\x90.",
    "a frozen set": START + b"(" + NESTED + b"\x91.",
    "a table's call": START + TABLE_CALL + NESTED + b"N\x86\x85\x85R.",
    "a table of a table": START + TABLE_CALL + b")R" + NESTED + b"Ns.",
    "a type of numbers": START + b"cnumpy\ndtype\n" + NESTED + b"\x85R.",
    "a state": START + b"}" + b")b.",
    "text made often": START
    + b"c_codecs\nencode\nq\x01X\x00\x10\x00\x00"
    + b"x" * 4096
    + b"X\x06\x00\x00\x00latin1"
    b"\x86q\x02" + b"0h\x01h\x02R" * 4000 + b".",
}


@pytest.mark.parametrize("what", BOMBS)
@pytest.mark.parametrize("read", [read_snapshot, read_torch_file])
def test_a_stream_that_costs_more_than_it_holds_is_refused(what: str, read: Any, tmp_path: Path) -> None:
    path = tmp_path / "g.pkl"
    path.write_bytes(BOMBS[what])
    with pytest.raises(CheckpointError) as caught:
        read(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_ten_bytes_take_no_gigabytes(tmp_path: Path) -> None:
    """With a gigabyte to spare, all of the bombs are refused, and not for want of memory."""
    script = """
        import resource, sys, io
        from inverters.errors import CheckpointError
        from inverters.generators.plain_pickle import DAMAGE, PlainUnpickler
        from tests.inverters.generators.test_plain_pickle import BOMBS
        taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for bomb in BOMBS.values():
            try:
                PlainUnpickler(io.BytesIO(bomb)).load()
            except (CheckpointError, *DAMAGE):
                pass
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - taken)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 100_000  # KiB


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_data_comes_back(protocol: int) -> None:
    data: dict[Any, Any] = {"a": [1, 2.5, None, True, "x", (1, (2,))], 3: {"s": {}}, "long": 2**100}
    if protocol >= 4:  # bytes and sets are calls before
        data |= {"set": {"a", 4}, "frozen": frozenset({"b"}), "bytes": b"y"}
    assert PlainUnpickler(io.BytesIO(pickle.dumps(data, protocol=protocol))).load() == data


def test_tables_of_old_pythons_have_their_items_in_the_call() -> None:
    assert PlainDict([("a", 1), ("b", 2)]) == {"a": 1, "b": 2}
    with pytest.raises(CheckpointError, match="a key of type tuple"):
        PlainDict([((), 1)])


def test_modules_in_many_places_are_not_visited_for_ever(tmp_path: Path) -> None:
    """Sixteen levels, each with a hundred times the one below, and not one tensor."""
    from inverters.generators.unpickle import Module

    module = Module()
    for _ in range(15):
        above = Module()
        above.attributes = {"_modules": {f"m{k}": module for k in range(100)}}
        module = above
    with pytest.raises(CheckpointError, match="are more, than any generator's"):
        module.tensors()


def test_an_archive_whose_entries_lie_over_each_other_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save({"a": torch.zeros(4096)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        entry = next(one for one in archive.infolist() if one.filename.endswith("data/0"))
        for k in range(20):
            again = zipfile.ZipInfo(f"x/data/{k + 1}")
            for name in ("header_offset", "CRC", "compress_size", "file_size"):
                setattr(again, name, getattr(entry, name))
            archive.filelist.append(again)
            archive.NameToInfo[again.filename] = again
        archive._didModify = True  # type: ignore[attr-defined]
    with pytest.raises(CheckpointError, match="lie over each other"):
        read_torch_file(path)


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "g.pkl")
    for read in (read_snapshot, read_torch_file):
        with pytest.raises(CheckpointError, match="not a regular file"):
            read(tmp_path / "g.pkl")
