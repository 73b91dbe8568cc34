"""The output folder appears whole or not at all; masks reach as far as an edit can be seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.clip import Edit, View
from pipeline.errors import OutputError
from pipeline.report.output_folder import OutputFolder
from pipeline.request.settings import CompositeSettings
from pipeline.stages.edit import Variant
from pipeline.stages.outputs import FaceMasks, describe, held_rows, understood
from storage import StageCache, StoredArray, file_hash


def test_files_appear_together_and_the_folder_is_made(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b"
    (tmp_path / "source").write_bytes(b"1")
    with OutputFolder(out) as folder:
        folder.copy(tmp_path / "source", "x.mp4")
        (folder.draft / "manifest.json").write_text("{}")
        assert [p.name for p in out.iterdir()] == [folder.draft.name]
        folder.publish(last=["manifest.json"])
    assert {p.name for p in out.iterdir()} == {"x.mp4", "manifest.json"}


def test_files_of_an_earlier_job_go_unless_somebody_changed_them(tmp_path: Path) -> None:
    for name in ("old.mp4", "changed.mp4", "mine.mp4"):
        (tmp_path / name).write_text(name)
    earlier = {name: file_hash(tmp_path / name) for name in ("old.mp4", "changed.mp4")}
    (tmp_path / "changed.mp4").write_text("by hand")
    with OutputFolder(tmp_path) as folder:
        (folder.draft / "new.mp4").touch()
        folder.publish(replaces=earlier | {"../mine.mp4": "", "new.mp4": ""})
    assert {p.name for p in tmp_path.iterdir()} == {"changed.mp4", "mine.mp4", "new.mp4"}


def test_without_publish_nothing_stays(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), OutputFolder(tmp_path / "a" / "b") as folder:
        (folder.draft / "x").write_text("")
        raise RuntimeError
    assert not (tmp_path / "a").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "keep").touch()
    with OutputFolder(tmp_path / "mine"):
        pass
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["keep"]


def test_what_cannot_be_written_is_told_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(OutputError, match=r"cannot be written.*--out"):
            OutputFolder(out)


def stored(cache: StageCache, name: str, array: np.ndarray) -> StoredArray:
    with cache.begin(f"x-{name}") as writer:
        writer.put("x", array)
        return writer.publish().arrays["x"]


def test_a_mask_grows_where_an_edit_or_an_occluder_reaches_beyond_the_face(tmp_path: Path) -> None:
    size = 64
    ring = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    landmarks = np.stack([32 + 8 * np.cos(ring), 40 + 8 * np.sin(ring)], -1)[None].astype(np.float32)
    affine = np.array([[[1.0, 0, 0], [0, 1, 0]]])
    plain = np.full((1, size, size, 3), 100, np.uint8)
    edited = plain.copy()
    edited[0, 5:14, 20:44] = 200  # hair
    edited[0, 30, 5] = 255  # a lone bright pixel
    blend = np.zeros((1, 32, 32), np.float16)
    blend[0, 24:31, 10:31] = 0.9
    cache = StageCache(tmp_path)
    images = {name: stored(cache, name, a) for name, a in (("p", plain), ("e", edited), ("b", blend))}
    face = FaceMasks(landmarks, affine, size, CompositeSettings())[0]
    with_edit = FaceMasks(landmarks, affine, size, CompositeSettings(), None, images["e"], images["p"])[0]
    with_blend = FaceMasks(landmarks, affine, size, CompositeSettings(), images["b"])[0]
    assert face[40, 32] == with_edit[40, 32] == 255 and face[9, 32] == 0 and face[51, 32] == 0
    assert with_edit[9, 32] > 200 and with_edit[30, 5] == 0
    assert with_blend[51, 32] > 200 and with_blend[9, 32] == 0


def test_an_occluder_is_taken_off_near_the_face_only(tmp_path: Path) -> None:
    size = 64
    ring = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    landmarks = np.stack([32 + 8 * np.cos(ring), 40 + 8 * np.sin(ring)], -1)[None].astype(np.float32)
    affine = np.array([[[1.0, 0, 0], [0, 1, 0]]])
    everything = stored(StageCache(tmp_path), "everything", np.ones((1, 64, 64), np.float16))
    mask = FaceMasks(landmarks, affine, size, CompositeSettings(), everything)[0]
    assert mask[51, 32] > 200 and mask[60, 32] == 0 and mask[58, 6] == 0


def test_a_hand_that_the_fit_has_not_followed_stays_in_front(tmp_path: Path) -> None:
    size, cache = 96, StageCache(tmp_path)
    plain = np.full((1, size, size, 3), 150, np.uint8)
    rng = np.random.default_rng(0)
    source = (plain + rng.integers(-8, 9, plain.shape)).astype(np.uint8)  # noise is no hand
    source[:, 40:70, 30:60] = (70, 40, 30)
    trust = understood(source[0], plain[0])
    assert trust[45:65, 35:55].max() == 0 and trust[:30].min() == 1 and trust[:, 70:].min() == 1
    assert understood(np.full_like(plain[0], 90), plain[0]).min() == 1  # all alike: a poor fit, no hand
    landmarks = np.random.default_rng(1).uniform(30, 66, (1, 68, 2)).astype(np.float32)
    affine = np.array([[[1.0, 0, 0], [0, 1.0, 0]]])
    images = {name: stored(cache, name, array) for name, array in (("p", plain), ("s", source))}
    face = FaceMasks(landmarks, affine, size, CompositeSettings(), None, images["p"], images["p"])[0]
    kept = FaceMasks(landmarks, affine, size, CompositeSettings(), None, *(images[k] for k in "pps"))[0]
    assert face[50:60, 40:50].min() > 200 and kept[50:60, 40:50].max() == 0
    assert np.array_equal(face[:30], kept[:30])


def test_frames_without_a_crop_hold_the_one_before(tmp_path: Path) -> None:
    images = stored(StageCache(tmp_path), "i", np.arange(2, dtype=np.uint8).reshape(2, 1, 1, 1) + 1)
    shown = [int(frame[0, 0, 0]) for frame in held_rows(images, {1: 0, 3: 1}, 5)]
    assert shown == [0, 1, 1, 2, 2]


def test_the_comment_says_what_was_done() -> None:
    text = describe(Variant((Edit("smile", 1.5, 0.5, 1.0),), True, View(0.3)), "bundled", "w+")
    for part in ("Edited", "smile=1.5@0.5-1s", "occluder removed", "yaw=0.3", "bundled", "w+"):
        assert part in text
    assert "no edit" in describe(Variant(), "bundled", "w+")
