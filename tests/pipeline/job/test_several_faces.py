"""Several faces in one job, and frames that repeat: one output, one manifest, nothing done twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.job.finished import request_digest
from pipeline.job.walker import run_job
from pipeline.report.manifest import JobResult
from pipeline.request.checks import check_settings
from pipeline.request.edits import Edit, View
from pipeline.request.faces import Face
from pipeline.request.settings import DecodeSettings, EditSettings, EncodeSettings, Settings, TrackSettings
from pipeline.stages.decode import decode
from tests.pipeline.fakes import Fakes
from tests.pipeline.job.test_walker import cached, read
from tests.pipeline.video.media import make_video

SMILE, AGE = Edit("smile", 1.0), Edit("age", -1.5)
LOSSLESS = EncodeSettings(codec="ffv1")


def asked(*faces: Face) -> Settings:
    return Settings(track=TrackSettings(face=faces), encode=LOSSLESS)


def changed(tmp_path: Path, name: str, source: Path) -> np.ndarray:
    """How much each pixel of frame 1 differs from the source's."""
    given = list(decode(source, DecodeSettings(), tmp_path).frames())[1]
    return read(tmp_path / name / "edited.mkv")[1].astype(int) - given


def test_two_faces_are_each_edited_as_asked_in_one_output(clip: Path, fakes: Fakes, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    both = run_job(clip, tmp_path / "both", cache, asked(Face(0, (SMILE,)), Face(1, (AGE,))))
    assert fakes.calls["track"] == fakes.calls["invert"] == 2
    for number, edit, name in ((0, SMILE, "left"), (1, AGE, "right")):
        alone = run_job(clip, tmp_path / name, cache, asked(Face(number, (edit,))))
        assert all(
            done for stage, done in cached(alone).items() if stage not in ("decode", "encode", "report")
        )
    assert fakes.calls["track"] == fakes.calls["invert"] == 2, "each face's stages are those of a job for it"
    left, right, one = (changed(tmp_path, name, clip) for name in ("left", "right", "both"))
    apart = left == 0  # elsewhere the second lies over what the first has made
    np.testing.assert_array_equal(one[apart], (left + right)[apart])
    assert (left > 0).any() and (right < 0).any()
    assert [(face["face"], face["edits"]) for face in both["faces"]] == [
        (0, ["smile=1.0"]),
        (1, ["age=-1.5"]),
    ]
    assert all(face["not_edited"] == {"no face": 1} for face in both["faces"])
    assert both["frames"]["edited"] == 7 and len(both["outputs"]) == 3
    assert JobResult(tmp_path / "both").array("track@1/landmarks") is not None


def test_another_edit_of_one_face_renders_that_face_alone(clip: Path, fakes: Fakes, tmp_path: Path) -> None:
    run_job(clip, tmp_path / "a", tmp_path / "cache", asked(Face(0, (SMILE,)), Face(1, (AGE,))))
    before = dict(fakes.calls)
    run_job(clip, tmp_path / "b", tmp_path / "cache", asked(Face(0, (SMILE,)), Face(1, (SMILE,))))
    assert {name: fakes.calls[name] for name in ("track", "invert")} == {"track": 2, "invert": 2}
    assert fakes.calls["edit"] - before["edit"] == 1


def test_edits_for_all_and_removal_go_to_every_face(clip: Path, fakes: Fakes, tmp_path: Path) -> None:
    settings = replace(asked(Face(0, (SMILE,)), Face(1)), edit=EditSettings(remove_occluder=True))
    manifest = run_job(clip, tmp_path / "out", tmp_path / "cache", settings)
    assert {"edited", "removal", "removal_edited"} <= set(manifest["outputs"])
    assert manifest["faces"][1]["edits"] == []


def test_requests_that_make_no_sense_are_one_line() -> None:
    two = asked(Face(0), Face(1))
    for settings, says in (
        (asked(Face(1), Face(1)), "--face 1 is given twice"),
        (asked(*(Face(n) for n in range(17))), "16 is the most"),
        (replace(two, edit=EditSettings(view=View(yaw=0.2))), "--view is for one face, and --face names 2"),
        (replace(two, encode=EncodeSettings(crops=True)), "--crops is for one face"),
        (asked(Face(0, (SMILE, SMILE))), "is given twice"),
    ):
        with pytest.raises(UserError, match=says):
            check_settings(settings)


def test_the_digest_of_a_request_knows_the_edits_of_all_faces(clip: Path) -> None:
    digests = {
        request_digest(clip, asked(*faces))
        for faces in ((Face(0, (SMILE,)), Face(1)), (Face(0), Face(1, (SMILE,))), (Face(0), Face(1)))
    }
    assert len(digests) == 3


@pytest.mark.parametrize("edit", [SMILE, Edit("smile", 1.0, 0.05, 0.15)])
def test_frames_that_repeat_are_fitted_once_and_come_out_equal(
    edit: Edit, fakes: Fakes, tmp_path: Path
) -> None:
    fakes.held, fakes.no_face, fakes.interpolated = 3, (6, 7, 8), ()
    shades = [np.full((80, 96, 3), 60 + 20 * (n // 3), np.uint8) for n in range(12)]
    for n, shade in enumerate(shades):
        shade[20:60, 20:60] += np.uint8(5 * (n // 3))
    clip = make_video(tmp_path / "held.mkv", 12, (96, 80), codec="ffv1", pix_fmt="bgr0", pictures=shades)
    settings = Settings(edit=EditSettings((edit,), ease=0.0), encode=LOSSLESS)
    manifest = run_job(clip, tmp_path / "out", tmp_path / "cache", settings)
    job, frames = JobResult(tmp_path / "out"), read(tmp_path / "out" / "edited.mkv")
    crops, images = job.array("align/crops"), job.array("edit/edited/images")
    assert crops is not None and images is not None and (len(crops), len(images)) == (3, 9)
    assert manifest["frames"]["fitted"] == 3 and manifest["per_frame"]["repeats"][:4] == [0, 0, 0, 3]
    if edit.start is None:
        assert all((frames[n] == frames[n // 3 * 3]).all() for n in range(12))
        assert fakes.calls["render"] == 3 + 3, "as found and edited"
    else:  # from 0.05 to 0.15 s: frames 2, 3 and 4
        different = [n for n in range(12) if (frames[n] != frames[n - n % 3]).any()]
        assert different == [2, 5], "an edit comes and goes also while a picture stands"
