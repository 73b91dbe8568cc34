"""`--stitch` in a job: what is tuned, what is shown, what is done again."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import inverters.editing.stitching
from pipeline.errors import UserError
from pipeline.job.walker import run_job
from pipeline.report.manifest import JobResult
from pipeline.request.checks import check_request
from pipeline.request.edits import Edit
from pipeline.request.settings import (
    CompositeSettings,
    DecodeSettings,
    EditSettings,
    EncodeSettings,
    Settings,
)
from pipeline.stages.decode import decode
from tests.pipeline.fakes import HEIGHT, WIDTH, Fakes, install, write_clip

EARLY = Edit("smile", 2.0, None, 0.3)
"""Frames 0 to 2 of those with a face; the clip has 12 a second."""
STITCHED = Settings(
    edit=EditSettings((EARLY,), remove_occluder=True, ease=0.0),
    composite=CompositeSettings(stitch="weights"),
    encode=EncodeSettings(codec="ffv1"),
)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4")


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows that were stitched; a stitched picture is all green."""
    seen: list[int] = []

    def fake(stitcher: Any, row: int, *rest: Any) -> torch.Tensor:
        ws, edited, source, inside, border = rest[2:7]
        assert edited.shape == source.shape and not torch.equal(edited, source)
        assert len(ws) == 1 and not (inside * border).any() and inside.any() and border.any()
        seen.append(row)
        return torch.tensor([-1.0, 1.0, -1.0]).reshape(1, 3, 1, 1).expand_as(edited)

    monkeypatch.setattr(
        inverters.editing.stitching,
        "Stitcher",
        lambda renderer, preset: SimpleNamespace(stitch=partial(fake, preset)),
    )
    return seen


def edit_early(ws: torch.Tensor, times: torch.Tensor, edits: Any, directions: Any, ease: float) -> Any:
    """A weak edit, in force for the first 0.3 seconds."""
    presence = (times <= 0.3).to(ws)[:, None, None]
    return ws + 0.05 * presence * sum(edit.strength for edit in edits)


def frames_of(path: Path, folder: Path) -> list[np.ndarray]:
    return list(decode(path, DecodeSettings(), folder).frames())


def test_edited_frames_are_stitched_and_shown_whole(
    clip: Path, monkeypatch: pytest.MonkeyPatch, rows: list[int], tmp_path: Path
) -> None:
    fakes: Fakes = install(monkeypatch)
    monkeypatch.setattr(sys.modules["inverters.editing.edit"], "edit_codes", edit_early)
    out, cache = tmp_path / "out", tmp_path / "cache"
    first = run_job(clip, out, cache, STITCHED)
    assert rows == [0, 1, 2]
    result = JobResult(out)
    images, edited = (result.array(f"{stage}/edited/images") for stage in ("stitch", "edit"))
    assert images is not None and edited is not None and images.shape == edited.shape
    assert (images[:3, ..., 1] == 255).all() and np.array_equal(images[3:], edited[3:])
    source, shown, removed = (
        frames_of(path, tmp_path) for path in (clip, out / "edited.mkv", out / "removal_edited.mkv")
    )
    for frame in range(8):
        change = np.abs(shown[frame].astype(int) - source[frame]).max(-1)
        if frame < 3:
            assert shown[frame][40, 40, 1] > 245 > 10 > shown[frame][40, 40, 0], "the stitched picture"
            assert change[:4].max() == 0 and change[:, -4:].max() == 0
        else:
            assert change.max() == 0, "no edit, no change"
    assert removed[0][40, 40, 1] < 245, "without the occluder nothing is stitched"
    assert shown[0].shape == (HEIGHT, WIDTH, 3)

    before = dict(fakes.calls)
    again = run_job(clip, tmp_path / "other", cache, STITCHED)
    assert len(rows) == 3 and dict(fakes.calls) == before and again["arrays"] == first["arrays"]
    plain = replace(STITCHED, composite=CompositeSettings())
    without = run_job(clip, tmp_path / "plain", cache, plain)
    assert "stitch/edited/images" not in without["arrays"] and len(rows) == 3
    assert fakes.calls["render"] == before["render"], "the edit itself comes from the cache"
    assert without["request"] != first["request"]
    moved = replace(STITCHED, edit=replace(STITCHED.edit, edits=(replace(EARLY, strength=1.0),)))
    run_job(clip, out, cache, moved)
    assert rows == [0, 1, 2, 0, 1, 2]
    codes = replace(moved, composite=CompositeSettings(stitch="codes"))
    assert run_job(clip, out, cache, codes)["request"] != first["request"]
    assert rows == [0, 1, 2] * 3, "another way to stitch is another result"


def test_without_an_edit_there_is_nothing_to_stitch(clip: Path, tmp_path: Path) -> None:
    alone = replace(STITCHED, edit=EditSettings(remove_occluder=True))
    with pytest.raises(UserError, match="--stitch has nothing to stitch without an edit") as caught:
        check_request(clip, tmp_path / "out", alone)
    assert caught.value.exit_code == 2 and not (tmp_path / "out").exists()
