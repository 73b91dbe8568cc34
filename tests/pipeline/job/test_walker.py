"""A whole job around stand-ins for the models: what re-runs, what comes from the cache, what is left."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from pipeline.errors import OutputError, UnknownNameError, UserError
from pipeline.job.finished import request_digest
from pipeline.job.progress import Progress
from pipeline.job.walker import run_job
from pipeline.report.manifest import JobResult
from pipeline.request.edits import Edit, View
from pipeline.request.settings import (
    CameraSettings,
    DecodeSettings,
    EditSettings,
    EncodeSettings,
    InvertSettings,
    Settings,
)
from pipeline.stages.decode import decode
from pipeline.stages.plan import plan_of
from tests.pipeline.fakes import FRAMES, HEIGHT, SIZE, WIDTH, Fakes

SMILE = Settings(edit=EditSettings(edits=(Edit("smile", 1.5),)))
HEAVY = ("track", "camera", "invert", "finetune")


class Notes(Progress):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


def read(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def cached(manifest: dict[str, Any]) -> dict[str, bool]:
    return {stage["name"]: stage["cached"] for stage in manifest["stages"]}


def test_a_method_begins_at_an_encoder(clip: Path, fakes: Fakes, tmp_path: Path) -> None:
    plain, cache = replace(SMILE, invert=InvertSettings(method="w+", start="none")), tmp_path / "cache"
    run_job(clip, tmp_path / "plain", cache, plain)
    assert fakes.begun_at is None and fakes.calls["start"] == 0
    begun = replace(SMILE, invert=InvertSettings(method="w+"))
    manifest = run_job(clip, tmp_path / "a", cache, begun)
    assert [stage["name"] for stage in manifest["stages"]] == list(plan_of(begun).kinds)
    assert fakes.begun_at is not None and (fakes.calls["start"], fakes.calls["invert"]) == (1, 2)
    run_job(clip, tmp_path / "b", cache, replace(begun, edit=EditSettings((Edit("age", 1.0),))))
    assert (fakes.calls["start"], fakes.calls["invert"]) == (1, 2)
    run_job(clip, tmp_path / "c", cache, replace(begun, invert=replace(begun.invert, preset="fast")))
    assert (fakes.calls["start"], fakes.calls["invert"]) == (1, 3), "its preset is its own"


def test_everything_that_was_asked_for_is_there(clip: Path, fakes: Fakes, tmp_path: Path) -> None:
    settings = Settings(
        edit=EditSettings((Edit("smile", 1.5),), remove_occluder=True, view=View(yaw=0.3)),
        encode=EncodeSettings(crops=True),
    )
    manifest = run_job(clip, tmp_path / "a" / "out", tmp_path / "cache", settings)
    out = tmp_path / "a" / "out"
    names = {"edited", "removal", "removal_edited", "view", "crops", "comparison"}
    assert set(manifest["outputs"]) == names | {"report"}
    assert {p.name for p in out.iterdir()} == {*manifest["outputs"].values(), "manifest.json"}
    frames = {"total": 8, "edited": 7, "fitted": 7, "interpolated": 1, "passed_through": 1}
    assert manifest["frames"] == frames
    assert [stage["name"] for stage in manifest["stages"]] == list(plan_of(settings).kinds)
    for name in ("edited", "removal", "removal_edited"):
        frames = read(out / manifest["outputs"][name])
        assert len(frames) == FRAMES and frames[0].shape == (HEIGHT, WIDTH, 3)
    assert len(read(out / "view.mp4")) == 7 and read(out / "crops.mp4")[0].shape == (SIZE, SIZE, 3)
    panels = read(out / "comparison.mp4")
    assert len(panels) == FRAMES and panels[0].shape[1] >= 4 * WIDTH
    with av.open(str(out / "edited.mp4")) as container:
        assert container.streams.audio and "smile=1.5" in container.metadata["comment"]


def test_only_the_face_changes_and_frames_without_one_do_not(
    clip: Path, fakes: Fakes, tmp_path: Path
) -> None:
    lossless = replace(SMILE, encode=EncodeSettings(codec="ffv1"))
    run_job(clip, tmp_path / "out", tmp_path / "cache", lossless)
    source, edited = (
        list(decode(path, DecodeSettings(), tmp_path).frames())
        for path in (clip, tmp_path / "out" / "edited.mkv")
    )
    np.testing.assert_array_equal(edited[3], source[3])
    change = np.abs(edited[6].astype(int) - source[6]).max(-1)
    assert change[40, 40] > 10
    assert change[2:, 70:].max() == 0 and change[70:].max() == 0


def test_a_second_run_computes_nothing(clip: Path, fakes: Fakes, tmp_path: Path) -> None:
    first = run_job(clip, tmp_path / "out", tmp_path / "cache", SMILE)
    before = dict(fakes.calls)
    second = run_job(clip, tmp_path / "other", tmp_path / "cache", SMILE)
    assert dict(fakes.calls) == before
    assert not any(cached(first).values())
    assert all(hit for name, hit in cached(second).items() if name not in ("decode", "report"))
    assert first["arrays"] == second["arrays"]
    assert {k: v for k, v in first["output_hashes"].items() if k != "report"} == {
        k: v for k, v in second["output_hashes"].items() if k != "report"
    }


def test_signs_of_damage_are_told_or_refused(
    clip: Path, fakes: Fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.stages import decode as stage

    real = stage.probe
    monkeypatch.setattr(stage, "probe", lambda *a, **k: replace(real(*a, **k), doubts=("it may be cut off",)))
    manifest = run_job(clip, tmp_path / "out", tmp_path / "cache", SMILE)
    assert "it may be cut off" in manifest["notes"]
    assert "it may be cut off" in (tmp_path / "out" / "report.html").read_text()
    with pytest.raises(UserError, match=r"cut off.*--strict"):
        run_job(clip, tmp_path / "strict", tmp_path / "cache", replace(SMILE, strict=True))
    assert not (tmp_path / "strict").exists()


def test_another_edit_runs_only_what_comes_after_it(clip: Path, fakes: Fakes, tmp_path: Path) -> None:
    run_job(clip, tmp_path / "out", tmp_path / "cache", SMILE)
    before = {name: fakes.calls[name] for name in HEAVY}
    other = Settings(edit=EditSettings(edits=(Edit("age", -1.0),)))
    manifest = run_job(clip, tmp_path / "out", tmp_path / "cache", other)
    assert {name: fakes.calls[name] for name in HEAVY} == before
    expected = dict.fromkeys(("track", "align", "camera", "start", "invert", "finetune"), True)
    rerun = dict.fromkeys(("decode", "hidden", "edit", "composite", "encode", "report"), False)
    assert cached(manifest) == expected | rerun


@pytest.mark.parametrize(
    ("change", "computed"),
    [
        ({"decode": DecodeSettings(max_frames=7)}, set(HEAVY)),
        ({"invert": InvertSettings(seed=1)}, {"invert", "finetune"}),
        ({"encode": EncodeSettings(quality=30)}, set()),
    ],
)
def test_a_setting_runs_the_stages_that_read_it(
    clip: Path, fakes: Fakes, tmp_path: Path, change: dict[str, Any], computed: set[str]
) -> None:
    run_job(clip, tmp_path / "out", tmp_path / "cache", SMILE)
    before = {name: fakes.calls[name] for name in HEAVY}
    run_job(clip, tmp_path / "out", tmp_path / "cache", replace(SMILE, **change))
    assert {name for name in HEAVY if fakes.calls[name] > before[name]} == computed


def test_damage_is_reported_and_computed_again(clip: Path, fakes: Fakes, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = run_job(clip, tmp_path / "out", cache, SMILE)
    chunks = sorted((cache / first["cache"]["keys"]["finetune"] / "arrays/reconstruction").glob("c.4.*"))
    data = bytearray(chunks[0].read_bytes())
    data[-3] ^= 1
    chunks[0].write_bytes(bytes(data))
    notes = Notes()
    other = Settings(edit=EditSettings(edits=(Edit("age", 1.0),)))
    second = run_job(clip, tmp_path / "out", cache, other, notes)
    assert any("damaged" in text and "computed again" in text for text in notes.texts)
    assert any("damaged" in text for text in second["notes"])
    assert fakes.calls["finetune"] == 2 and fakes.calls["invert"] == 1
    assert second["arrays"]["finetune/reconstruction"] == first["arrays"]["finetune/reconstruction"]


def test_damage_that_shows_while_other_damage_is_repaired(clip: Path, fakes: Fakes, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = run_job(clip, tmp_path / "out", cache, SMILE)
    keys = first["cache"]["keys"]
    for stage, array in (("finetune", "reconstruction"), ("align", "crops")):
        for chunk in (cache / keys[stage] / "arrays" / array).glob("c.*"):
            data = bytearray(chunk.read_bytes())
            data[-3] ^= 1
            chunk.write_bytes(bytes(data))
    notes, other = Notes(), Settings(edit=EditSettings(edits=(Edit("age", 1.0),)))
    second = run_job(clip, tmp_path / "out", cache, other, notes)
    for stage in ("finetune", "align"):
        assert any(keys[stage] in text and "damaged" in text for text in notes.texts), stage
    for array in ("finetune/reconstruction", "align/crops"):
        assert second["arrays"][array] == first["arrays"][array]


def test_an_interrupted_job_leaves_no_output_and_goes_on_from_its_checkpoint(
    clip: Path, fakes: Fakes, tmp_path: Path
) -> None:
    fakes.fail_in = "invert"
    with pytest.raises(KeyboardInterrupt):
        run_job(clip, tmp_path / "out", tmp_path / "cache", SMILE)
    assert not (tmp_path / "out").exists()
    assert (fakes.checkpoints[0] / "state").exists()
    fakes.fail_in = ""
    notes = Notes()
    run_job(clip, tmp_path / "out", tmp_path / "cache", SMILE, notes)
    assert fakes.calls["track"] == 1 and fakes.checkpoints[0] == fakes.checkpoints[1]
    assert any("going on from the checkpoint" in text for text in notes.texts)
    assert not fakes.checkpoints[0].exists()


def test_a_failing_report_leaves_the_output_folder_as_it_was(
    clip: Path, fakes: Fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pipeline.report.page as report_module

    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep")

    def broken(*args: Any, **more: Any) -> Path:
        raise OutputError("no")

    monkeypatch.setattr(report_module, "report", broken)
    with pytest.raises(OutputError):
        run_job(clip, out, tmp_path / "cache", SMILE)
    assert [p.name for p in out.iterdir()] == ["mine.txt"]


def test_requests_that_cannot_be_met(clip: Path, fakes: Fakes, tmp_path: Path) -> None:
    late = Settings(edit=EditSettings(edits=(Edit("smile", 1.0, 5.0, 6.0),)))
    with pytest.raises(UserError, match=r"the clip ends at 0\.667 s"):
        run_job(clip, tmp_path / "out", tmp_path / "cache", late)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        run_job(clip, tmp_path / "file" / "out", tmp_path / "cache", SMILE)
    masks = tmp_path / "masks"
    masks.mkdir()
    for t in range(FRAMES):
        Image.new("L", (WIDTH, HEIGHT + 2)).save(masks / f"{t:04d}.png")
    wrong = Settings(invert=InvertSettings(occluder_masks=str(masks)))
    with pytest.raises(UserError, match="96 x 82 pixels, but the video is 96 x 80"):
        run_job(clip, tmp_path / "out", tmp_path / "cache", wrong)
    assert fakes.calls["track"] == 0 and not (tmp_path / "out").exists()


def test_official_cameras_take_the_place_of_estimated_ones(clip: Path, fakes: Fakes, tmp_path: Path) -> None:
    pose = np.diag([1.0, -1, -1, 1])
    pose[2, 3] = 2.7
    lens = [4.2647, 0, 0.5, 0, 4.2647, 0.5, 0, 0, 1]
    labels = [[f"frame{t:04d}.png", [*pose.ravel().tolist(), *lens]] for t in range(FRAMES)]
    path = tmp_path / "dataset.json"
    settings = replace(SMILE, camera=CameraSettings(labels=str(path)))
    path.write_text(json.dumps({"labels": labels[:-1]}))
    with pytest.raises(UserError, match="no label for frame 7"):
        run_job(clip, tmp_path / "out", tmp_path / "cache", settings)
    path.write_text(json.dumps({"labels": labels}))
    run_job(clip, tmp_path / "out", tmp_path / "cache", settings)
    assert fakes.calls["camera"] == 0
    cameras = JobResult(tmp_path / "out").array("camera/cam2world")
    assert cameras is not None and np.allclose(cameras[0], pose)


def test_an_unknown_edit_is_named_before_any_stage(clip: Path, fakes: Fakes, tmp_path: Path) -> None:
    settings = Settings(edit=EditSettings((Edit("grin", 1.0),)))
    with pytest.raises(UnknownNameError, match="known: age, smile"):
        run_job(clip, tmp_path / "out", tmp_path / "cache", settings)
    assert not fakes.calls and not (tmp_path / "out").exists()


def test_the_content_of_a_file_of_directions_decides_about_edits_alone(
    clip: Path, fakes: Fakes, tmp_path: Path
) -> None:
    path, out = tmp_path / "grin.npy", tmp_path / "out"
    np.save(path, np.ones(4, np.float32))
    settings = Settings(edit=EditSettings((Edit("grin", 1.0),), directions=(str(path),)))
    first = run_job(clip, out, tmp_path / "cache", settings)
    assert any("grin.npy does not say" in note for note in first["notes"])
    assert fakes.calls["edit"] == 1
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (moved / "grin.npy").write_bytes(path.read_bytes())
    again = replace(settings, edit=replace(settings.edit, directions=(str(moved / "grin.npy"),)))
    assert cached(run_job(clip, out, tmp_path / "cache", again))["edit"] and fakes.calls["edit"] == 1
    np.save(path, np.full(4, 2, np.float32))
    other = cached(run_job(clip, out, tmp_path / "cache", settings))
    assert not other["edit"] and all(other[name] for name in HEAVY) and fakes.calls["edit"] == 2
    assert request_digest(clip, settings) != first["request"]


def test_arrays_can_be_read_back_through_the_manifest(clip: Path, fakes: Fakes, tmp_path: Path) -> None:
    removal = Settings(edit=EditSettings(remove_occluder=True))
    manifest = run_job(clip, tmp_path / "out", tmp_path / "cache", removal)
    result = JobResult(tmp_path / "out")
    assert result.manifest == manifest and result.names() == sorted(manifest["arrays"])
    crops, images, rows = (result.array(n) for n in ("align/crops", "edit/removal/images", "align/frames"))
    assert crops is not None and images is not None and rows is not None
    assert crops.shape == images.shape == (7, SIZE, SIZE, 3)
    assert rows.tolist() == [0, 1, 2, 4, 5, 6, 7]
    assert result.array("edit/edited/images") is None
    with pytest.raises(UserError, match="no manifest"):
        JobResult(tmp_path / "nothing")
