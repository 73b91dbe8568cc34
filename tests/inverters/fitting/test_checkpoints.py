"""Checkpoints are whole or absent, and belong to one job."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from inverters.fitting.checkpoints import Checkpoint, CheckpointStore, under_prefix, with_prefix


def test_round_trip_keeps_bits_types_and_numbers(tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(4)
    shared = torch.randn(3, 2, generator=rng)
    tensors = {
        "a": shared,
        "b": shared,
        "rng": rng.get_state(),
        "n": torch.tensor([1, 2]),
        "s": shared[:, :1],
    }
    meta = {"step": 7, "history": {"loss": [0.1 + 0.2, float("inf")]}}
    store = CheckpointStore(tmp_path / "new", {"seed": 1, "frames": (1, 2)})
    store.save(Checkpoint(tensors, meta))
    found = CheckpointStore(tmp_path / "new", {"seed": 1, "frames": [1, 2]}).load()
    assert found is not None
    assert found.meta == meta
    assert found.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(found.tensors[name], tensor) and found.tensors[name].dtype == tensor.dtype
    assert not list(tmp_path.rglob("*.partial"))


def test_another_jobs_checkpoint_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    CheckpointStore(tmp_path, {"seed": 1}).save(Checkpoint({"a": torch.ones(1)}))
    assert CheckpointStore(tmp_path, {"seed": 2}).load() is None
    assert "another job" in caplog.text


@pytest.mark.parametrize("keep", [0, 5, 60, -3])
def test_a_damaged_file_is_reported_and_not_believed(
    tmp_path: Path, keep: int, caplog: pytest.LogCaptureFixture
) -> None:
    store = CheckpointStore(tmp_path, {"seed": 1})
    store.save(Checkpoint({"a": torch.ones(100)}, {"step": 1}))
    assert store.path is not None
    store.path.write_bytes(store.path.read_bytes()[:keep])
    assert store.load() is None
    assert "is damaged" in caplog.text and str(store.path) in caplog.text


def test_every_flipped_bit_is_found_and_the_one_before_takes_its_place(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, {"seed": 1})
    for step in (1, 2):
        store.save(Checkpoint({"a": torch.full((9,), float(step)), "n": torch.tensor(step)}, {"step": step}))
    assert store.path is not None
    whole = store.path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        store.path.write_bytes(damaged)
        found = store.load()
        assert found is not None
        if found.meta["step"] == 2:  # a bit of no meaning, such as one of padding
            assert torch.equal(found.tensors["a"], torch.full((9,), 2.0))
            assert found.tensors["n"] == 2 and found.tensors["n"].dtype == torch.int64
    store.path.unlink()
    found = store.load()
    assert found is not None and found.meta["step"] == 1


def test_no_folder_keeps_nothing() -> None:
    store = CheckpointStore(None, {})
    store.save(Checkpoint({"a": torch.ones(1)}))
    assert store.load() is None


def test_an_interrupted_write_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = CheckpointStore(tmp_path, {})
    store.save(Checkpoint({"a": torch.zeros(1)}, {"step": 1}))

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("inverters.fitting.checkpoints.save_file", full)
    with pytest.raises(OSError, match="no space"):
        store.save(Checkpoint({"a": torch.ones(1)}, {"step": 2}))
    found = store.load()
    assert found is not None and found.meta["step"] == 1


def test_prefixes_undo_each_other() -> None:
    tensors = {"a": torch.ones(1), "b.c": torch.zeros(1)}
    both = with_prefix("x", tensors) | with_prefix("xy", {"a": torch.ones(2)})
    assert under_prefix("x", both).keys() == tensors.keys()


def test_a_pipe_in_the_place_of_a_checkpoint_is_not_waited_for(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, {"seed": 1})
    store.save(Checkpoint({"a": torch.ones(1)}))
    store.save(Checkpoint({"a": torch.zeros(1)}))
    assert store.path is not None
    store.path.unlink()
    os.mkfifo(store.path)
    found = store.load()
    assert found is not None and found.tensors["a"] == 1  # the one before
