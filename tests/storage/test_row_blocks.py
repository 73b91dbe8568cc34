"""Rows rendered before a kill are not rendered again, and damaged ones are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.job.walker import run_job
from storage import row_blocks
from storage.row_blocks import RowBlocks, Rows
from tests.pipeline.fakes import Fakes, install, write_clip
from tests.pipeline.job.test_walker import SMILE, Notes


class Killed(BaseException):
    pass


def truth(first: int, last: int) -> Rows:
    numbers = np.arange(first, last)
    return {"images": np.repeat(numbers[:, None], 5, 1).astype(np.uint8), "psnr": numbers.astype(np.float32)}


def life(folder: Path, count: int, size: int, dies_at: int) -> tuple[list[Rows], list[int]]:
    """Rows that one run got, and those it made itself; it is killed before row `dies_at` is made."""
    made: list[int] = []

    def made_from(first: int) -> Iterator[Rows]:
        for start in range(first, count, size):
            stop = min(start + size, count)
            if start <= dies_at < stop:
                raise Killed
            made.extend(range(start, stop))
            yield truth(start, stop)

    got: list[Rows] = []
    try:
        got.extend(RowBlocks(folder).all(made_from))
    except Killed:
        got = []
    return got, made


@settings(max_examples=60)
@given(
    st.integers(1, 30),
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 29)), max_size=4),
    st.integers(1, 5),
    st.data(),
)
def test_any_number_of_kills_gives_the_same_rows(
    count: int, lives: list[tuple[int, int]], last: int, data: st.DataObject
) -> None:
    every, row_blocks.EVERY = row_blocks.EVERY, 0.0
    try:
        with TemporaryDirectory() as name:
            folder, made = Path(name), 0
            for size, dies_at in lives:
                _, own = life(folder, count, size, dies_at)
                assert not own or own[0] >= made - 5, "no more than what was not put aside is made again"
                made = max(made, own[-1] + 1 if own else 0)
                blocks = sorted(folder.glob("rows-*.npz"))
                if blocks and data.draw(st.booleans()):
                    damaged = data.draw(st.sampled_from(blocks))
                    bytes_ = bytearray(damaged.read_bytes())
                    bytes_[data.draw(st.integers(0, len(bytes_) - 1))] ^= 1
                    damaged.write_bytes(bytes(bytes_))
                    made = 0
            got, _ = life(folder, count, last, -1)
            for key, values in truth(0, count).items():
                assert np.array_equal(np.concatenate([rows[key] for rows in got]), values)
    finally:
        row_blocks.EVERY = every


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Fakes:
    return install(monkeypatch)


@pytest.mark.parametrize("row", [2, 5, 9, 12])
def test_a_job_killed_while_it_renders_goes_on_with_the_next_rows(
    row: int, fakes: Fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 14 rows, 7 of the reconstruction and 7 of the edit."""
    monkeypatch.setattr(row_blocks, "EVERY", 0.0)
    monkeypatch.setattr("pipeline.stages.edit.BATCH", 1)
    monkeypatch.setattr("pipeline.stages.finetune.BATCH", 1)
    clip = write_clip(tmp_path / "clip.mp4")
    whole = run_job(clip, tmp_path / "a", tmp_path / "whole", SMILE)
    assert fakes.calls["render"] == 14
    fakes.calls["render"], fakes.last_render = 0, row
    with pytest.raises(KeyboardInterrupt):
        run_job(clip, tmp_path / "b", tmp_path / "cut", SMILE)
    assert fakes.calls["render"] == row
    fakes.last_render, notes = None, Notes()
    cut = run_job(clip, tmp_path / "b", tmp_path / "cut", SMILE, notes)
    assert fakes.calls["render"] <= 14 + 1, "rows were rendered again"
    assert any("going on from the checkpoint" in text for text in notes.texts)
    assert cut["arrays"] == whole["arrays"]
    assert not list((tmp_path / "cut/checkpoints").rglob("rows-*"))
