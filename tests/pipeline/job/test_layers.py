"""A whole job with layers: what lies in the output folder makes the finished frames of the source."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.job.walker import run_job
from pipeline.report.manifest import grouped
from pipeline.request.edits import Edit
from pipeline.request.settings import (
    CompositeSettings,
    DecodeSettings,
    EditSettings,
    EncodeSettings,
    Settings,
)
from pipeline.stages.decode import decode
from pipeline.video.pictures import read_picture
from tests.pipeline.fakes import FRAMES, install, write_clip
from tests.pipeline.video.media import ffmpeg

ASKED = Settings(
    edit=EditSettings((Edit("smile", 1.5),), remove_occluder=True),
    encode=EncodeSettings(codec="png", layers="png"),
)
NAMES = ("edited", "removal", "removal_edited")


@pytest.fixture
def clip(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = write_clip(tmp_path / "clip.mp4")
    if request.param == "ten":
        ffmpeg("-i", path, "-vf", "format=yuv444p10le", "-c:v", "ffv1", tmp_path / "deep.mkv")
        path = tmp_path / "deep.mkv"
    return path


@pytest.mark.parametrize("clip", ["eight", "ten"], indirect=True)
def test_source_and_layer_are_the_result_in_every_frame(
    clip: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(monkeypatch)
    out = tmp_path / "out"
    manifest = run_job(clip, out, tmp_path / "cache", ASKED)
    found = grouped(manifest["outputs"])
    source = decode(clip, DecodeSettings(), tmp_path)
    if source.deep is None:
        plates = [frame / 255 for frame in source.frames()]
    else:
        from pipeline.video.planes import Layout, to_layout

        whole = (to_layout(planes, Layout(16)) for planes in source.deep.planes())
        plates = [np.stack(planes.samples, -1) / 65535 for planes in whole]
    assert len(found["occluder_matte"]) == FRAMES
    for plate, matte, done in zip(plates, found["occluder_matte"], found["removal"], strict=True):
        whole = read_picture(out / done).pixels
        change = np.abs(whole / np.iinfo(whole.dtype).max - plate).max(axis=-1)
        # What is seen of a change is blurred by two pixels of the crop.
        near = cv2.dilate(read_picture(out / matte).rgb8[..., 0], np.ones((17, 17), np.uint8))
        assert 255 * change[near == 0].max(initial=0.0) <= 1
        assert not near.all() and (change.max() > 0.05 or not near.any())
    empty = 0
    for name in NAMES:
        assert len(found[f"{name}_layer"]) == len(found[f"{name}_mask"]) == len(found[name]) == FRAMES
        for plate, layer, done in zip(plates, found[f"{name}_layer"], found[name], strict=True):
            seen, finished = read_picture(out / layer), read_picture(out / done)
            alpha = seen.alpha[..., None] / 65535
            mixed = plate + alpha * (seen.pixels / 65535 - plate)
            top = np.iinfo(finished.pixels.dtype).max
            assert 255 * np.abs(mixed - finished.pixels / top).max() <= 1
            empty += not alpha.any()
    assert empty >= len(NAMES)  # the frame without a face


@pytest.mark.parametrize("clip", ["eight"], indirect=True)
def test_masks_come_back_from_the_folder_of_results(
    clip: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fakes = install(monkeypatch)
    asked = replace(ASKED, edit=EditSettings((Edit("smile", 1.5),)))
    run_job(clip, tmp_path / "out", tmp_path / "cache", asked)
    again = replace(asked, composite=CompositeSettings(face_masks=str(tmp_path / "out")))
    run_job(clip, tmp_path / "second", tmp_path / "cache", again)
    for first in (tmp_path / "out").glob("edited.*.png"):
        before, after = (
            read_picture(folder / first.name).rgb8.astype(int)
            for folder in (first.parent, tmp_path / "second")
        )
        assert np.abs(before - after).max() <= 1
    few = tmp_path / "few"
    few.mkdir()
    for mask in sorted((tmp_path / "out").glob("edited_mask.*.png"))[:2]:
        shutil.copy(mask, few)
    fewer = replace(again, composite=CompositeSettings(face_masks=str(few)))
    fakes.calls.clear()
    with pytest.raises(UserError, match=r"--face-masks .*there is no mask for frame"):
        run_job(clip, tmp_path / "third", tmp_path / "empty", fewer)
    assert not fakes.calls and not (tmp_path / "third" / "manifest.json").exists()
