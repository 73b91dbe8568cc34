"""`--smooth` and `--steady` in a job, and the note about a hidden edit: what is shown, what re-runs."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inverters.editing.edit import edit_presence
from pipeline.job.finished import request_digest
from pipeline.job.walker import run_job
from pipeline.report.manifest import JobResult
from pipeline.request.edits import Edit, View
from pipeline.request.settings import (
    CompositeSettings,
    EditSettings,
    EncodeSettings,
    InvertSettings,
    Settings,
)
from pipeline.stages import edit as edit_stage
from pipeline.stages import invert
from tests.pipeline.fakes import FRAMES, Fakes, install
from tests.pipeline.job.test_walker import cached
from tests.pipeline.stages.test_stitch import frames_of

LOSSLESS = EncodeSettings(codec="ffv1")
SMILE = Settings(edit=EditSettings((Edit("smile", 1.0),)), encode=LOSSLESS)
LATE = Edit("smile", 1.0, 0.45)
"""From frame 6 on; the clip has 12 frames a second, and no face in frame 3."""
ROWS = [0, 1, 2, 4, 5, 6, 7]
SHAKE = 0.06
"""By how much the code of every other row is off, in [-1,1]."""


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Fakes:
    """Stand-ins whose inversion shakes from frame to frame and has a second field."""
    installed = install(monkeypatch)
    plain: Any = invert.invert

    def shaken(*given: Any, **more: Any) -> Any:
        found = plain(*given, **more)
        sign = torch.tensor([1.0, -1.0] * len(found.ws))[: len(found.ws), None, None]
        phi = torch.zeros(len(found.ws), 32)
        return replace(found, ws=found.ws + SHAKE * sign, ood={"phi": phi})

    monkeypatch.setattr(invert, "invert", shaken)
    return installed


def with_edit(**changes: Any) -> Settings:
    return replace(SMILE, edit=replace(SMILE.edit, **changes))


def arrays_of(out: Path, *names: str) -> list[Any]:
    found = [JobResult(out).array(name) for name in names]
    assert all(array is not None for array in found)
    return [np.asarray(array).astype(int) for array in found]


def shaking(images: Any, crops: Any) -> float:
    """Mean step in levels of what is added to the crops, between neighbouring frames."""
    steps = np.diff((images - crops).mean(axis=(1, 2, 3)))
    return float(np.abs(np.delete(steps, 2)).mean())  # rows 2 and 3 are frames 2 and 4


def test_smoothing_renders_again_and_nothing_else(clip: Path, fakes: Fakes, tmp_path: Path) -> None:
    out, cache = tmp_path / "out", tmp_path / "cache"
    loose = run_job(clip, tmp_path / "loose", cache, with_edit(remove_occluder=True))
    assert not [name for name in loose["arrays"] if name.startswith("smooth")]
    settings = with_edit(remove_occluder=True, smooth="gaussian")
    calm = run_job(clip, out, cache, settings)
    hits = cached(calm)
    assert hits["invert"] and hits["finetune"] and not hits["edit"] and not hits["composite"]
    assert calm["request"] != loose["request"]
    crops, before, after, blend = arrays_of(
        out, "align/crops", "finetune/reconstruction", "smooth/reconstruction", "smooth/blend"
    )
    assert blend.shape == (7, 16, 16) and shaking(after, crops) < 0.8 * shaking(before, crops)
    removal, both, edited = (
        arrays_of(out, f"edit/{n}/images")[0] for n in ("removal", "removal_edited", "edited")
    )
    assert abs((edited - after).mean() - 0.2 * 127.5) < 1.5, "the edit is what it was, without the smoothing"
    assert np.array_equal(removal[..., 1:], after[..., 1:])
    assert abs((both - removal)[..., 1].mean() - 0.2 * 127.5) < 1.5
    assert JobResult(out).shown("reconstruction") is not None
    assert np.array_equal(JobResult(out).shown("reconstruction"), after)
    psnr = JobResult(out).array("smooth/psnr")
    assert psnr is not None and calm["metrics"]["reconstruction"]["psnr"] == pytest.approx(psnr.mean())
    again = run_job(clip, tmp_path / "again", cache, settings)
    assert cached(again)["edit"] and again["arrays"] == calm["arrays"]
    assert (
        run_job(clip, tmp_path / "third", cache, with_edit(remove_occluder=True))["arrays"] == loose["arrays"]
    )


def test_without_an_edit_the_reconstruction_is_smooth_as_well(
    clip: Path, fakes: Fakes, tmp_path: Path
) -> None:
    shown = {}
    for kind in ("none", "gaussian"):
        run_job(clip, tmp_path / kind, tmp_path / "cache", replace(SMILE, edit=EditSettings(smooth=kind)))
        shown[kind] = np.stack(frames_of(tmp_path / kind / "edited.mkv", tmp_path)).astype(int)
    source = np.stack(frames_of(clip, tmp_path)).astype(int)
    steps = {
        kind: np.diff((frames - source)[4:, 36:44, 36:44].mean(axis=(1, 2, 3)))
        for kind, frames in shown.items()
    }
    assert np.abs(steps["gaussian"]).mean() < 0.8 * np.abs(steps["none"]).mean()
    assert np.array_equal(shown["gaussian"][3], source[3])


def test_a_smoothed_clip_is_the_sources_where_no_edit_is_in_force(
    clip: Path, fakes: Fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add(ws: Any, times: Any, edits: Any, directions: Any, ease: float) -> Any:
        presence = torch.tensor([edit_presence(edits[0], float(t), ease) for t in times]).to(ws)
        return ws + 0.2 * presence[:, None, None]

    monkeypatch.setattr(sys.modules["inverters.editing.edit"], "edit_codes", add)
    for calm in ({"smooth": "gaussian"}, {}):
        settings = replace(
            with_edit(edits=(LATE,), ease=0.0, **calm), composite=CompositeSettings(steady=True)
        )
        run_job(clip, tmp_path / "out", tmp_path / "cache", settings)
        source, shown = frames_of(clip, tmp_path), frames_of(tmp_path / "out" / "edited.mkv", tmp_path)
        changed = [t for t in range(FRAMES) if not np.array_equal(source[t], shown[t])]
        assert changed == [6, 7], calm


def test_steadying_puts_frames_together_again_and_renders_nothing(
    clip: Path, fakes: Fakes, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    loose = run_job(clip, tmp_path / "loose", cache, SMILE)
    rendered = fakes.calls["render"]
    settings = replace(SMILE, composite=CompositeSettings(steady=True))
    calm = run_job(clip, tmp_path / "out", cache, settings)
    assert fakes.calls["render"] == rendered and calm["arrays"] == loose["arrays"]
    hits = cached(calm)
    assert hits["edit"] and not hits["encode"]
    assert calm["output_hashes"]["edited"] != loose["output_hashes"]["edited"]
    assert request_digest(clip, settings) != request_digest(clip, SMILE)
    source = frames_of(clip, tmp_path)
    for name in ("loose", "out"):
        frames = frames_of(tmp_path / name / "edited.mkv", tmp_path)
        outside = np.abs(frames[6].astype(int) - source[6])
        assert outside[:4].max() == 0 and outside[:, -4:].max() == 0
        assert np.array_equal(frames[3], source[3])


def test_rows_in_which_an_edit_comes_or_goes_are_not_held() -> None:
    times = np.arange(8) / 10
    assert edit_stage.as_before((), times, 0.2).tolist() == [False] + [True] * 7
    edits = (Edit("smile", 1.0, 0.2, 0.6), Edit("age", 1.0))
    held = edit_stage.as_before(edits, times, 0.0).tolist()
    assert held == [False, True, False, True, True, True, True, False]
    eased = edit_stage.as_before(edits, times, 0.15).tolist()
    assert eased == [False, True, True, False, False, False, False, True]


@pytest.mark.parametrize("steps", [16, 4])
def test_an_edit_that_is_mostly_hidden_is_told(clip: Path, fakes: Fakes, tmp_path: Path, steps: int) -> None:
    """The second field takes nine tenths of all of the crop, or of a corner of it."""
    fakes.covered = steps
    settings = with_edit(edits=(Edit("smile", 1.5), Edit("age", 1.0)), view=View(yaw=0.2))
    for _ in range(2):  # computed, then from the cache
        manifest = run_job(clip, tmp_path / "out", tmp_path / "cache", settings)
        told = [note for note in manifest["notes"] if "lies behind" in note]
        if steps == 4:
            assert not told
            continue
        assert len(told) == 2 and told[0].startswith("edit 'smile=1.5': 90 % of what it changes")
        assert "age=1.0" in told[1] and all("--remove-occluder" in note for note in told)
        assert "90 % of what it changes" in (tmp_path / "out" / "report.html").read_text()
    off = replace(settings, edit=replace(settings.edit, remove_occluder=True))
    removed = run_job(clip, tmp_path / "removed", tmp_path / "cache", off)
    assert not [note for note in removed["notes"] if "lies behind" in note]


def test_a_method_without_a_second_field_hides_nothing(
    clip: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fakes = install(monkeypatch)
    fakes.covered = 16
    settings = replace(SMILE, invert=InvertSettings("w+"))
    manifest = run_job(clip, tmp_path / "out", tmp_path / "cache", settings)
    assert not [note for note in manifest["notes"] if "lies behind" in note]
    assert "hidden/shares" not in manifest["arrays"]
