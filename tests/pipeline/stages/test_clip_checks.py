"""What the clip does not allow is said before any work: frames that a codec does not take, odd colours."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from pipeline.clip import Clip
from pipeline.errors import InputVideoError, UserError
from pipeline.job.progress import Progress
from pipeline.job.walker import run_job
from pipeline.request.edits import Edit
from pipeline.request.settings import EditSettings, EncodeSettings, InvertSettings, Settings
from pipeline.stages.clip_checks import SIDES, check_clip
from pipeline.video.codecs import encoder_for, suffix_for
from tests.pipeline.fakes import FRAMES, HEIGHT, WIDTH, install, write_clip


class NotedProgress(Progress):
    """Keeps what the user is told."""

    def __init__(self, told: list[str]) -> None:
        self.told = told

    def note(self, text: str) -> None:
        self.told.append(text)


def clip_of(width: int, height: int, **color: object) -> Clip:
    times = np.arange(3) / 12
    base = Fraction(1, 12)
    return Clip(
        Path("a.mp4"), "", width, height, times, np.arange(3), base, Fraction(12), 0.25, False, dict(color)
    )


def with_codec(codec: str) -> Settings:
    return replace(Settings(), encode=EncodeSettings(codec=codec))


@pytest.mark.parametrize(
    ("codec", "size"),
    [("h264", (16386, 64)), ("h264", (64, 16386)), ("hevc", (8, 64)), ("prores", (65536, 64))],
)
def test_frames_that_a_codec_does_not_take(codec: str, size: tuple[int, int]) -> None:
    with pytest.raises(UserError, match=f"--codec {codec} takes frames with sides of") as caught:
        check_clip(clip_of(*size), with_codec(codec))
    assert f"{size[0]} x {size[1]}" in str(caught.value) and "--codec ffv1" in str(caught.value)


@pytest.mark.parametrize(("codec", "side"), [("h264", 16384), ("hevc", 16)])
def test_the_bounds_are_those_of_the_encoders(codec: str, side: int) -> None:
    """The encoder opens at the bound, and not beyond it where it has one of its own."""
    check_clip(clip_of(side, 64), with_codec(codec))
    for width, takes in ((side, True), (side + 2 if side > 1000 else side - 2, False)):
        encoder = encoder_for(EncodeSettings(codec=codec), width, 64, suffix_for(codec))
        context = av.CodecContext.create(encoder.name, "w")
        context.width, context.height, context.pix_fmt = width, 64, encoder.pixel_format
        context.time_base, context.options = Fraction(1, 12), encoder.options
        if takes:
            context.open()
            continue
        with pytest.raises((av.FFmpegError, ValueError)):
            context.open()
    assert side in SIDES[codec]


def test_a_matrix_that_cannot_be_read_is_named() -> None:
    with pytest.raises(InputVideoError, match=r"its colour matrix 8 \(YCgCo\) cannot be turned into RGB"):
        check_clip(clip_of(64, 64, matrix=8, format="yuv420p"), Settings())
    with pytest.raises(InputVideoError, match="its pixel format yaf32le"):
        check_clip(clip_of(64, 64, matrix=2, format="yaf32le"), Settings())
    check_clip(clip_of(64, 64, matrix=8, format="gbrp"), Settings())
    check_clip(clip_of(64, 64, matrix=9, format="yuv420p10le"), Settings())


def test_what_changes_nothing_is_told_before_the_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = install(monkeypatch)
    fakes.fail_in = "track"
    masks = tmp_path / "masks"
    masks.mkdir()
    for number in range(FRAMES):
        Image.new("L", (WIDTH, HEIGHT), 0).save(masks / f"{number}.png")
    told: list[str] = []
    progress = NotedProgress(told)
    asked = replace(
        Settings(),
        edit=EditSettings(edits=(Edit("smile", 0.0),)),
        invert=InvertSettings(occluder_masks=str(masks)),
    )
    with pytest.raises(KeyboardInterrupt):
        run_job(write_clip(tmp_path / "a.mp4"), tmp_path / "out", tmp_path / "cache", asked, progress)
    assert any("has no strength" in note for note in told)
    assert any(f"{FRAMES} of {FRAMES} occluder masks are black everywhere" in note for note in told)
