"""Scores against a truth made by hand, where the right answer is known."""

from __future__ import annotations

import argparse
import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from inverters.heads.params import NUM_PARAMETERS, index
from pipeline import score as score_module
from pipeline.errors import UserError
from pipeline.sample_media import FrameWriter
from pipeline.score import KEYS, add_arguments, psnr_of, run, score
from pipeline.truth import load_truth
from storage import StageCache, StageWriter, stage_key

FRAMES, WIDTH, HEIGHT, CROP = 4, 64, 48, 32
BOX = (slice(16, 32), slice(24, 40))
"""Rows and columns of the occluder."""
AFFINE = np.array([[1.0, 0.0, -16.0], [0.0, 1.0, -8.0]])
"""The true crop: columns 16 to 48, rows 8 to 40, unscaled."""


def flat(level: int, box: int | None = None) -> np.ndarray:
    frame = np.full((HEIGHT, WIDTH, 3), level, np.uint8)
    if box is not None:
        frame[BOX] = box
    return frame


def write_video(path: Path, frame: np.ndarray) -> None:
    with FrameWriter(path, (WIDTH, HEIGHT), Fraction(15), 0, True, "") as writer:
        for _ in range(FRAMES):
            writer.write(frame)


def turned(degrees: float) -> list[list[float]]:
    a = math.radians(degrees)
    return [[math.cos(a), 0, math.sin(a), 0], [0, 1, 0, 0], [-math.sin(a), 0, math.cos(a), 2.7], [0, 0, 0, 1]]


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """A grey clip with a dark box for an occluder; with the smile the face is brighter."""
    folder = tmp_path / "clip.truth"
    (folder / "mask").mkdir(parents=True)
    write_video(tmp_path / "clip.mp4", flat(120, 40))
    write_video(folder / "clean.mp4", flat(120))
    write_video(folder / "edit_smile.mp4", flat(140))
    write_video(folder / "edit_smile_occluded.mp4", flat(140, 40))
    mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
    mask[BOX] = 0
    for t in range(FRAMES):
        Image.fromarray(mask).save(folder / "mask" / f"{t:06d}.png")
    edit = {"strength": 1.5, "clean": "edit_smile.mp4", "occluded": "edit_smile_occluded.mp4"}
    truth = {
        "format": "invid-sample-truth", "version": 1, "frames": FRAMES, "size": [WIDTH, HEIGHT],
        "occluder": "mask", "cam2world": [turned(0.0)] * FRAMES,
        "crop": {"size": CROP, "affine": [AFFINE.tolist()] * FRAMES},
        "masks": "mask", "clean": "clean.mp4",
        "edits": {"smile": edit},
    }  # fmt: skip
    (folder / "truth.json").write_text(json.dumps(truth))
    return tmp_path / "clip.mp4"


def write_result(out: Path, sample: Path, outputs: dict[str, np.ndarray], **given: Any) -> Path:
    """A job's folder with these videos, cached arrays by `stage/array`, and edits."""
    out.mkdir(exist_ok=True)
    for name, frame in outputs.items():
        write_video(out / f"{name}.mp4", frame)
    arrays: dict[str, np.ndarray] = {
        "align/affine": np.tile(AFFINE, (FRAMES, 1, 1)),
        "align/frames": np.arange(FRAMES),
        "finetune/reconstruction": np.full((FRAMES, CROP, CROP, 3), 120, np.uint8),
        "camera/cam2world": np.array([turned(d) for d in (1.0, 1.0, 2.0, 5.0)], np.float32),
        **given.get("arrays", {}),
    }
    cache = StageCache(out / "cache")
    keys, hashes = {}, {}
    for stage in sorted({name.rpartition("/")[0] for name in arrays}):
        key = stage_key(stage.replace("/", "-"), 1, {"out": str(out)}, [])
        with cache.begin(key) as writer:
            assert isinstance(writer, StageWriter)
            for name, array in arrays.items():
                if name.rpartition("/")[0] == stage:
                    writer.put(name.rpartition("/")[2], array)
            found = writer.publish()
        keys[stage] = found.key
        hashes |= {f"{stage}/{name}": stored.hash for name, stored in found.arrays.items()}
    manifest = {
        "input": {"path": str(sample), "width": WIDTH, "height": HEIGHT},
        "settings": {"edit": {"edits": given.get("edits", []), "remove_occluder": False, "view": None}},
        "frames": {"total": FRAMES},
        "metrics": {"reconstruction": {"psnr": 31.5, "ssim": 0.9, "lpips": None}},
        "per_frame": {"time": [t / 15 for t in range(FRAMES)]},
        "arrays": hashes,
        "cache": {"root": str(out / "cache"), "keys": keys},
        "outputs": {name: f"{name}.mp4" for name in outputs},
    }
    (out / "manifest.json").write_text(json.dumps(manifest))
    return out


SMILE = {"name": "smile", "strength": 1.5, "start": None, "stop": None}


def test_figures_of_a_known_result(sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blend = np.zeros((FRAMES, 16, 16), np.float16)
    blend[:, 4:12, 4:8] = 1.0  # the left half of the box, at half the crop's resolution
    images = np.full((FRAMES, CROP, CROP, 3), 120, np.uint8)

    class Judge:
        def scores(self, crops: Any) -> Any:
            read = np.zeros((len(crops), NUM_PARAMETERS), np.float32)
            read[:, index("smile")] = np.asarray(crops).mean((1, 2, 3))
            return read

    edited = images.copy()
    edited[:3] += 20  # in the last frame nothing moves
    monkeypatch.setattr(score_module, "_judge", Judge)
    result = write_result(
        tmp_path / "out",
        sample,
        {"removal": flat(120, 110), "removal_edited": flat(140, 130)},
        arrays={
            "finetune/blend": blend,
            "edit/removal/images": images,
            "edit/removal_edited/images": edited,
        },
        edits=[SMILE],
    )
    found = score(result, sample)
    assert tuple(found) == KEYS
    assert found["psnr_reconstruction"] == 31.5
    assert found["mask_iou"] == pytest.approx(0.5, abs=0.06)  # bilinear, so half a pixel of edge
    assert found["psnr_removal"] == pytest.approx(10 * math.log10(255**2 / 100), abs=1.0)
    assert found["psnr_removal_of_input"] == pytest.approx(10 * math.log10(255**2 / 6400), abs=0.2)
    assert found["psnr_true_edit"] == pytest.approx(10 * math.log10(255**2 / (100 * 256 / 1024)), abs=1.0)
    assert found["camera_median_deg"] == pytest.approx(1.5, abs=1e-3)
    assert found["camera_p95_deg"] == pytest.approx(4.55, abs=1e-2)
    assert found["edit_sign_share"] == 0.75


def test_what_a_result_has_not_is_null(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = write_result(tmp_path / "out", sample, {"edited": flat(140, 40)}, edits=[{**SMILE, "stop": 0.1}])
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert run(parser.parse_args([str(result), "--truth", str(sample), "--json"])) == 0
    found = json.loads(capsys.readouterr().out)
    assert tuple(found) == KEYS
    absent = {"mask_iou", "psnr_removal", "psnr_removal_of_input", "psnr_true_edit", "edit_sign_share"}
    assert {name for name, value in found.items() if value is None} == absent


def test_edit_behind_the_occluder(sample: Path, tmp_path: Path) -> None:
    """Without a removal, the edited frames are held against the true edit behind the occluder."""
    result = write_result(tmp_path / "out", sample, {"edited": flat(140, 40)}, edits=[SMILE])
    assert score(result, sample)["psnr_true_edit"] > 45
    other = write_result(
        tmp_path / "other", sample, {"edited": flat(140, 40)}, edits=[{**SMILE, "strength": 1.0}]
    )
    assert score(other, sample)["psnr_true_edit"] is None


@given(st.floats(0.01, 255.0), st.integers(1, 10**6))
@settings(max_examples=50)
def test_psnr_of_an_even_error(step: float, count: int) -> None:
    assert psnr_of(step**2 * count, count) == pytest.approx(min(100, 20 * math.log10(255 / step)), abs=1e-6)


def test_psnr_of_nothing_and_of_equals() -> None:
    assert psnr_of(0.0, 0) is None
    assert psnr_of(0.0, 10) == 100.0


@pytest.mark.parametrize("name", ["../clip.mp4", "/etc/hostname", "", ".", 7, "mask/../../clip.mp4"])
def test_truth_never_leaves_its_folder(name: Any, sample: Path) -> None:
    path = sample.with_suffix(".truth") / "truth.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps({**found, "clean": name}))
    with pytest.raises(UserError, match="leads out"):
        load_truth(sample)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "null", '{"format": "invid-sample-truth", "version": 1}', '{"format": 3, "version": 9}'],
)
def test_broken_truth_is_one_clear_line(text: str, sample: Path) -> None:
    (sample.with_suffix(".truth") / "truth.json").write_text(text)
    with pytest.raises(UserError, match=r"truth\.json") as caught:
        load_truth(sample)
    assert "\n" not in str(caught.value)


def test_things_that_do_not_belong_together(sample: Path, tmp_path: Path) -> None:
    result = write_result(tmp_path / "out", sample, {})
    manifest = json.loads((result / "manifest.json").read_text())
    (result / "manifest.json").write_text(json.dumps({**manifest, "frames": {"total": 99}}))
    with pytest.raises(UserError, match="99 frames"):
        score(result, sample)
    with pytest.raises(UserError, match="invid sample"):
        score(result, tmp_path / "nothing.mp4")
    with pytest.raises(UserError, match=r"manifest\.json"):
        score(tmp_path, sample)


def test_three_ways_to_name_a_sample(sample: Path) -> None:
    folder = sample.with_suffix(".truth")
    assert load_truth(sample).clean == load_truth(folder).clean == load_truth(folder / "truth.json").clean
