"""The stored set: parts are written once, found while training runs, and part 0 is held out."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest
import torch

from inverters.errors import CheckpointError
from inverters.training.people_pictures import NUM_PARAMETERS, open_set
from inverters.training.stored_set import StoredPeople, part_path, write_part
from tests.inverters.training.conftest import balls


def test_rows_are_those_of_the_files_and_the_first_part_is_held_out(ball_set: Path) -> None:
    stored = open_set(ball_set)
    assert len(stored) == 6 and len(open_set(ball_set, held_out=True)) == 2
    found = stored.read([4], [[2, 0]])
    truth = balls(3, 2)
    assert torch.equal(found["image"][0], truth["image"][1][[2, 0]])
    assert torch.equal(found["depth"][0], truth["depth"][1][[2, 0]].float())
    assert torch.equal(found["scores"][0], truth["scores"][1])


def test_draws_depend_on_the_source_alone_and_do_not_repeat_people(ball_set: Path) -> None:
    stored = open_set(ball_set)
    one, other = (stored.draw(6, 2, torch.Generator().manual_seed(3)) for _ in range(2))
    assert all(torch.equal(one[k], other[k]) for k in one)
    assert len(one["scores"][:, 0].unique()) == 6
    assert one["image"].shape[:2] == (6, 2)


def test_new_parts_are_found_and_present_ones_kept(tmp_path: Path) -> None:
    for number in (0, 1):
        assert write_part(tmp_path, number, lambda n=number: balls(1, n))
    stored = open_set(tmp_path)
    before = stored.read([0])
    assert not write_part(tmp_path, 1, lambda: balls(1, 9))
    assert write_part(tmp_path, 2, lambda: balls(2, 2))
    assert stored.refresh() == 3
    assert torch.equal(stored.read([0])["image"], before["image"])
    assert not list(tmp_path.glob("*.part"))


def test_a_part_that_another_process_makes_is_left_to_it(tmp_path: Path) -> None:
    draft = part_path(tmp_path, 1).with_suffix(".part")
    with draft.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert not write_part(tmp_path, 1, lambda: balls(1, 1))
    assert write_part(tmp_path, 1, lambda: balls(1, 1))  # its lock ended with it: made here


def test_damaged_and_foreign_parts_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no stored people"):
        StoredPeople(tmp_path).draw(1, 1, torch.Generator())
    write_part(tmp_path, 1, lambda: balls(1, 1) | {"scores": torch.zeros(1, 3)})
    with pytest.raises(CheckpointError, match=f"3 parameters, people now have {NUM_PARAMETERS}"):
        open_set(tmp_path)
    part_path(tmp_path, 1).unlink()
    older = {name: value for name, value in balls(1, 1).items() if name != "backdrop"}
    write_part(tmp_path, 1, lambda: older)
    with pytest.raises(CheckpointError, match=r"people-00001.* lack backdrop, which this version stores"):
        open_set(tmp_path)
    part_path(tmp_path, 2).write_bytes(b"not tensors")
    part_path(tmp_path, 1).unlink()
    with pytest.raises(CheckpointError, match="people-00002"):
        StoredPeople(tmp_path)
