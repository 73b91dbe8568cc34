"""Files of `torch.save` are read as torch reads them, without running anything."""

from __future__ import annotations

import argparse
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inverters.errors import CheckpointError
from inverters.generators.torch_file import is_torch_archive, read_torch_file

BOTH = pytest.mark.parametrize("zipped", [True, False])


def written(path: Path, content: Any, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def refused(path: Path, told: str) -> None:
    with pytest.raises(CheckpointError, match=told) as caught:
        read_torch_file(path)
    assert "\n" not in str(caught.value) and path.name in str(caught.value)


@BOTH
def test_tensors_come_back_bit_for_bit(tmp_path: Path, zipped: bool) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    content = {
        "view": base[1:3, ::2],
        "turned": base.T,
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "double": torch.tensor([1.5, torch.inf], dtype=torch.float64),
        "whole": torch.tensor([[2**40]]),
        "half": torch.ones(3).half(),
        "flag": torch.tensor([True, False]),
        "none": torch.zeros(0, 3),
        "scalar": torch.tensor(2.5),
    }
    path = written(tmp_path / "x.anything", content, zipped)
    assert is_torch_archive(path)
    found, wanted = read_torch_file(path), torch.load(path, weights_only=True)
    assert list(found) == list(wanted)
    for name in wanted:
        assert found[name].dtype == wanted[name].dtype and torch.equal(found[name], wanted[name]), name


@BOTH
def test_what_lies_beside_tensors_is_plain_data(tmp_path: Path, zipped: bool) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    content = {
        "state_dict": module.state_dict(),
        "opts": argparse.Namespace(name="x", rate=0.5, layers=[1, 2], nothing=None),
        "order": OrderedDict(a=(1, 2.5, True)),
        "best": np.float64(0.25),
    }
    found = read_torch_file(written(tmp_path / "x.pt", content, zipped))
    assert found["opts"] == {"name": "x", "rate": 0.5, "layers": [1, 2], "nothing": None}
    assert found["order"] == {"a": (1, 2.5, True)} and found["best"] == 0.25
    assert all(torch.equal(found["state_dict"][k], v) for k, v in module.state_dict().items())


@BOTH
def test_other_names_are_refused(tmp_path: Path, zipped: bool) -> None:
    for content in (torch.nn.Linear(1, 1), [print], Path("x"), torch.device("cpu")):
        refused(written(tmp_path / "x.pt", content, zipped), "it is refused")


def test_archives_that_torch_does_not_write_are_refused(tmp_path: Path) -> None:
    good = written(tmp_path / "good.pt", torch.ones(1000))

    def rewritten(how: int = zipfile.ZIP_STORED, **changes: bytes) -> Path:
        with zipfile.ZipFile(good) as old, zipfile.ZipFile(tmp_path / "bad.pt", "w", how) as new:
            for name in old.namelist():
                new.writestr(name, changes.get(name.rpartition("/")[2], old.read(name)))
        return tmp_path / "bad.pt"

    assert torch.equal(read_torch_file(rewritten()), torch.ones(1000))
    refused(rewritten(zipfile.ZIP_DEFLATED), "compressed")
    refused(rewritten(byteorder=b"big"), "big-endian")
    refused(rewritten(**{"0": b"\0" * 8}), "length")
    refused(rewritten(**{"data.pkl": b"\x80\x02}q\0"}), "damaged")
    with zipfile.ZipFile(tmp_path / "plain.zip", "w") as archive:
        archive.writestr("a", b"")
    assert not is_torch_archive(tmp_path / "plain.zip")
    refused(tmp_path / "plain.zip", "not one of torch's")


def test_a_storage_that_claims_more_than_the_file_holds_takes_no_memory(tmp_path: Path) -> None:
    path = written(tmp_path / "x.pth", torch.ones(4), zipped=False)
    data = path.read_bytes()
    # The number of elements in the storage's reference: BININT1 4 becomes LONG1 2**40.
    at = data.index(b"cpu") + data[data.index(b"cpu") :].index(b"K\x04")
    path.write_bytes(data[:at] + b"\x8a\x06" + (2**40).to_bytes(6, "little") + data[at + 2 :])
    refused(path, "longer than the file")
    path.write_bytes(data[:-8])
    refused(path, "damaged")
