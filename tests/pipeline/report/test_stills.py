"""Stills: the right frames of source and outputs, the one with the largest change, a budget of bytes."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.report import stills as module
from pipeline.report.frames_at import FramesAt
from pipeline.report.pictures import Picture, cut, encode, shrunk
from pipeline.report.stills import sampled, take_stills
from tests.pipeline.report.jobs import COUNT, MOST_CHANGED, MOUTH, SKIN, Job, frame, make_job
from tests.pipeline.video.media import index_of, make_video, picture


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return make_job(tmp_path_factory.mktemp("made"))


def videos(job: Job, *names: str) -> dict[str, list[Path]]:
    return {name: [job.out / f"{name}.mp4"] for name in names}


def is_near(pixels: np.ndarray, expected: np.ndarray | tuple[int, int, int]) -> bool:
    return bool(np.abs(pixels.astype(int) - np.asarray(expected, int)).mean() < 8)


@pytest.mark.parametrize("options", [{"g": "250"}, {"g": "7"}, {"g": "1"}, {"g": "9", "bf": "3"}])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_frames_by_time(tmp_path: Path, options: dict[str, str], suffix: str) -> None:
    path = make_video(tmp_path / f"a.{suffix}", 60, options=options)
    asked = [0, 1, 2, 30, 31, 33, 59]
    with FramesAt(path) as video:
        found = [video.at(i / 30, 1 / 60) for i in asked]
        assert [index_of(pixels) for pixels in found if pixels is not None] == asked
        assert video.at(3.0, 1 / 60) is None
        assert index_of(video.at(0.5, 1 / 60)) == 15  # after its end, and back


def test_a_time_without_a_frame(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", pts=[0, 1, 10, 11])
    with FramesAt(path) as video:
        assert video.at(5 / 30, 1 / 60) is None
        assert index_of(video.at(10 / 30, 1 / 60)) == 2


def test_the_frame_that_changed_most_is_shown(job: Job) -> None:
    found = take_stills(job.manifest, videos(job, "edited", "comparison"), job.clip, job.crops)
    assert found.lead == "edited"
    look = found.looks["edited"]
    assert look.sample.index == MOST_CHANGED and look.before is not None and not look.closer
    assert is_near(look.before.pixels, frame(MOST_CHANGED))
    assert is_near(look.after.pixels, frame(MOST_CHANGED, edited=True))
    assert [cell.sample.index for cell in found.cells if cell.chosen] == [MOST_CHANGED]
    both = found.posters["comparison"].pixels
    assert is_near(both[:, both.shape[1] // 2 :], frame(MOST_CHANGED, edited=True))
    for cell in found.cells:
        assert cell.before is not None and is_near(cell.before.pixels, frame(cell.sample.index))
        assert cell.after is not None and is_near(cell.after.pixels, frame(cell.sample.index, edited=True))


def test_crops_are_laid_over_the_crop_of_the_source(job: Job) -> None:
    found = take_stills(job.manifest, videos(job, "view"), job.clip, job.crops)
    look = found.looks["view"]
    assert look.before is not None and not look.apart and look.sample.index > 0
    assert look.before.pixels.shape == look.after.pixels.shape == (128, 128, 3)
    assert is_near(look.after.pixels, (90 + look.sample.index,) * 3)
    # the face is at 20 to 80 of the crop's 100 source pixels across, 15 to 85 down
    assert is_near(look.before.pixels[25:105, 30:98], SKIN)
    assert all(cell.after is None for cell in found.cells), "a crop is no frame of the source"


def test_crops_without_their_place_stand_beside_the_source(job: Job) -> None:
    look = take_stills(job.manifest, videos(job, "view"), job.clip, None).looks["view"]
    assert look.apart and look.before is not None and look.before.pixels.shape == (144, 192, 3)


def test_a_small_face_is_shown_close(job: Job) -> None:
    affine = job.crops.affine.copy()
    affine[:, :2, :2] *= 4  # a crop of 25 source pixels around the mouth of frame 5
    affine[:, :, 2] = [-4 * 1.28 * 85, -4 * 1.28 * 80]
    look = take_stills(
        job.manifest, videos(job, "edited"), job.clip, replace(job.crops, affine=affine)
    ).looks["edited"]
    assert look.closer and look.before is not None
    assert look.before.pixels.shape == look.after.pixels.shape == (50, 50, 3)
    assert is_near(look.after.pixels[20:34, 15:35], MOUTH)


def test_what_cannot_be_read_is_left_out(job: Job, tmp_path: Path) -> None:
    broken = tmp_path / "edited.mp4"
    broken.write_bytes(b"not a video")
    cut_off = tmp_path / "removal.mp4"
    cut_off.write_bytes((job.out / "edited.mp4").read_bytes()[:900])
    clip = replace(job.clip, source=None)
    found = take_stills(
        job.manifest, {"edited": [broken], "removal": [cut_off], "comparison": [broken]}, clip, None
    )
    assert found.looks == {} and found.posters == {} and found.pictures() == []
    assert take_stills({}, {"edited": [job.out / "edited.mp4"]}, job.clip, None).pictures() == []


def test_slow_sources_give_fewer_stills(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SOURCE_SECONDS", -1.0)
    found = take_stills(job.manifest, videos(job, "edited"), job.clip, job.crops)
    assert all(cell.before is None for cell in found.cells)
    assert found.looks["edited"].before is None and "edited" in found.posters


def test_frames_are_sampled_over_the_clip_and_inside_edits() -> None:
    times = [i / 25 for i in range(1000)]
    edits = [
        {"name": "smile", "strength": 1, "start": 3.0, "stop": 3.4},
        {"name": "age", "start": 39, "stop": None},
    ]
    manifest = {"per_frame": {"time": times, "status": [2] * 1000}, "settings": {"edit": {"edits": edits}}}
    indices = [sample.index for sample in sampled(manifest)]
    assert len(indices) == module.STRIP + 2 and {80, 988} <= set(indices)
    assert indices == sorted(indices) and max(np.diff(indices)) < 90
    few = {"per_frame": {"time": times[:COUNT], "status": [2] * COUNT}}
    assert [sample.index for sample in sampled(few)] == list(range(COUNT))


def test_the_budget_is_kept_by_smaller_pictures() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (900, 1600, 3), np.uint8)
    pictures = [Picture(noise), Picture(noise, 0.2)]
    assert encode(pictures, 2 * 10**6) > 10**5
    for limit in (200_000, 20_000, 5_000, 0):
        total = encode(pictures, limit)
        assert total == sum(len(one.uri) for one in pictures) <= limit
    encode(pictures, 200_000)
    data = base64.b64decode(pictures[0].uri.partition(",")[2])
    width, height = Image.open(io.BytesIO(data)).size
    assert width / height == pytest.approx(16 / 9, abs=0.01) and width < 1600


def test_cuts_repeat_the_edge_and_keep_sizes() -> None:
    pixels = picture(5)
    assert cut(pixels, (0, 0, 96, 64), (96, 64)).tobytes() == pixels.tobytes()
    outside = cut(pixels, (-20, 40, 10, 60), (30, 20))
    assert outside.shape == (20, 30, 3) and (outside[:, :20] == pixels[40, 0]).all()
    assert shrunk(pixels, 48).shape == (32, 48, 3) and shrunk(pixels, 200) is pixels
