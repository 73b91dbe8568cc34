"""`invid sample`: clip and truth say the same, again and again, and bad requests leave nothing behind."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from inverters.people.animation import MAX_YAW
from inverters.people.expressions import actions_of
from inverters.people.params import PARAMETERS, to_values
from pipeline.errors import OutputError, UnknownNameError, UserError
from pipeline.request.edits import View
from pipeline.request.settings import DecodeSettings
from pipeline.samples import rendering
from pipeline.samples.sample import write_sample
from pipeline.samples.settings import SampleSettings
from pipeline.samples.truth import frames_of, load_truth
from pipeline.samples.truth_format import truth_folder
from pipeline.samples.voice import AUDIO_RATE, babble
from pipeline.stages.decode import decode

SETTINGS = SampleSettings(occluder="mask", seconds=0.2, fps=15, seed=89, size=(64, 48), views=())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of three frames and its truth."""
    path = tmp_path_factory.mktemp("sample") / "clip.mp4"
    write_sample(path, SETTINGS)
    return path


def test_clip_has_pictures_and_a_voice(made: Path) -> None:
    clip = decode(made, DecodeSettings(), made.parent)
    assert (len(clip), clip.width, clip.height) == (3, 64, 48)
    assert clip.duration == pytest.approx(0.2, abs=0.01)
    assert clip.has_audio
    assert not list(made.parent.glob(".*"))


def test_defaults_are_the_clips() -> None:
    assert SampleSettings().yaw == MAX_YAW


def test_truth_agrees_with_the_clip(made: Path) -> None:
    """Off the mask the clip is the clean frames, on it something else, and the smile changes the mouth."""
    truth = load_truth(made)
    shown = np.stack(list(frames_of(made, truth.size))).astype(float)
    clean = np.stack(list(frames_of(truth.clean, truth.size))).astype(float)
    smile = np.stack(list(frames_of(truth.edits["smile"].clean, truth.size))).astype(float)
    covered = np.stack(list(frames_of(truth.edits["smile"].occluded, truth.size))).astype(float)
    masks = np.stack([truth.occluded(t) for t in range(3)])
    assert 0.01 < masks.mean() < 0.3
    assert np.abs(shown - clean)[masks].mean() > 20
    assert np.abs(shown - clean)[~masks].mean() < 4  # two encodings apart
    assert np.abs(smile - clean).max() > 20
    assert np.abs(covered - shown)[masks].mean() < 8
    assert truth.frames == 3
    shares = np.stack([truth.coverage(t) for t in range(3)])
    np.testing.assert_array_equal(shares >= 0.5, masks)
    assert ((shares > 0) & (shares < 1)).any()
    none = shares == 0
    assert np.abs(shown - clean)[none].mean() < 4
    assert truth.edits["smile"].strength == 1.5


def test_views_show_the_same_head_from_elsewhere(tmp_path: Path) -> None:
    """From +x, with the mask and the smile as in the frames themselves; a turn of nothing changes nothing."""
    write_sample(tmp_path / "c.mp4", replace(SETTINGS, seconds=0.07, views=SampleSettings.views))
    truth = load_truth(tmp_path / "c.mp4")
    [view] = truth.views
    assert (view.yaw, view.pitch) == (0.3, 0.0)
    shown, clean, smile, covered = (
        np.stack(list(frames_of(path, truth.size))).astype(float)
        for path in (view.occluded, view.clean, view.edits["smile"].clean, view.edits["smile"].occluded)
    )
    front = np.stack(list(frames_of(truth.clean, truth.size))).astype(float)
    assert np.abs(clean - front).mean() > 4
    masked = np.abs(shown - clean).max(-1) > 20
    assert 0.01 < masked.mean() < 0.3
    assert np.abs(smile - clean).max() > 20
    assert np.abs(covered - shown)[masked].mean() < 8
    still = tmp_path / "still.mp4"
    write_sample(still, SampleSettings("none", 0.1, 10, 3, (), (32, 32), (View(), View(pitch=0.1))))
    truth = load_truth(still)
    same, above = (next(frames_of(v.clean, truth.size)).astype(float) for v in truth.views)
    plain = next(frames_of(truth.clean, truth.size)).astype(float)
    np.testing.assert_array_equal(same, plain)
    assert np.abs(above - plain).mean() > 1 and truth.views[1].occluded is None


def test_truth_json_has_the_documented_shape(made: Path) -> None:
    found = json.loads((truth_folder(made) / "truth.json").read_text())
    assert set(found) == {
        "format", "version", "video", "seed", "fps", "frames", "size", "occluder", "occluder_state",
        "parameters", "scores", "blendshapes", "speech", "cam2world", "intrinsics", "crop", "masks", "alpha",
        "clean", "edits", "views", "depth",
    }  # fmt: skip
    assert found["parameters"] == [p.name for p in PARAMETERS]
    assert np.shape(found["scores"]) == (3, len(PARAMETERS))
    assert np.shape(found["intrinsics"]) == (3, 3, 3)
    assert set(found["crop"]) == {"size", "affine"}
    rotation = np.asarray(found["cam2world"])[:, :3, :3]
    np.testing.assert_allclose(
        rotation @ rotation.transpose(0, 2, 1), np.tile(np.eye(3), (3, 1, 1)), atol=1e-5
    )
    depth = np.load(truth_folder(made) / "depth.npz")["depth"]
    metres = found["depth"]["near"] + found["depth"]["unit"] * depth
    assert depth.shape == (3, 12, 16)
    assert 2.3 < metres.min() < 2.7 < metres.max() < 3.5
    masks = sorted((truth_folder(made) / "mask").iterdir())
    assert [m.name for m in masks] == ["000000.png", "000001.png", "000002.png"]
    assert set(np.unique(np.asarray(Image.open(masks[0])))) == {0, 255}
    alphas = sorted((truth_folder(made) / "alpha").iterdir())
    assert [a.name for a in alphas] == [m.name for m in masks]
    alpha, mask = (np.asarray(Image.open(files[0])) for files in (alphas, masks))
    np.testing.assert_array_equal(alpha >= 128, mask == 0)


def test_truth_tells_the_blendshapes(made: Path) -> None:
    """By frame and name, of the clip and of each edit."""
    found = json.loads((truth_folder(made) / "truth.json").read_text())
    names = found["blendshapes"]["names"]
    assert len(set(names)) == 52
    actions = actions_of(to_values(torch.tensor(found["scores"])))
    values = np.asarray(found["blendshapes"]["values"])
    edited = np.asarray(found["edits"]["smile"]["blendshapes"])
    assert values.shape == edited.shape == (3, 52)
    smile, jaw = names.index("mouthSmileLeft"), names.index("jawOpen")
    np.testing.assert_allclose(values[:, smile], actions["mouthSmileLeft"].numpy(), atol=1e-3)
    np.testing.assert_allclose(values[:, jaw], actions["jawOpen"].numpy(), atol=1e-3)
    assert (edited[:, smile] > values[:, smile] + 0.2).all()


def test_truth_without_alpha_still_reads(made: Path, tmp_path: Path) -> None:
    """As of older samples: the mask stands for the share."""
    old = tmp_path / "old.truth"
    shutil.copytree(truth_folder(made), old)
    found = json.loads((old / "truth.json").read_text())
    del found["alpha"], found["blendshapes"]
    (old / "truth.json").write_text(json.dumps(found))
    truth = load_truth(old)
    assert truth.alpha is None
    np.testing.assert_array_equal(truth.coverage(1), truth.occluded(1).astype(np.float32))


def test_same_request_same_bytes(made: Path, tmp_path: Path) -> None:
    """Another run gives the same truth, and the same file up to nothing at all."""
    short = SampleSettings(
        occluder="none", seconds=0.1, fps=10, seed=3, attributes=(), size=(32, 32), views=()
    )
    first, second = tmp_path / "one" / "a.mp4", tmp_path / "two" / "a.mp4"
    for path in (first, second):
        write_sample(path, short)
    assert first.read_bytes() == second.read_bytes()
    names = sorted(p.name for p in truth_folder(first).iterdir())
    assert names == ["alpha", "clean.mp4", "depth.npz", "mask", "truth.json"]
    assert (truth_folder(first) / "truth.json").read_text() == (
        truth_folder(second) / "truth.json"
    ).read_text()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"occluder": "veil"}, UnknownNameError, "scarf"),
        ({"attributes": ("charm",)}, UnknownNameError, "smile"),
        ({"seconds": 0.0}, UserError, "between 0.01 and 3600"),
        ({"seconds": float("nan")}, UserError, "between 0.01 and 3600"),
        ({"fps": 500.0}, UserError, "120"),
        ({"yaw": 1.5}, UserError, "--yaw"),
        ({"yaw": float("nan")}, UserError, "--yaw"),
        ({"seed": -1}, UserError, "--seed"),
        ({"size": (63, 48)}, UserError, "even"),
        ({"views": (View(orbit=True),)}, UserError, "no orbit"),
    ],
)
def test_bad_requests_say_what_to_do(change: dict, error: type, words: str, tmp_path: Path) -> None:
    settings = SampleSettings(**{**SETTINGS.__dict__, **change})
    with pytest.raises(error, match=words) as caught:
        write_sample(tmp_path / "clip.mp4", settings)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_never_replaces_what_is_not_a_sample(tmp_path: Path) -> None:
    (tmp_path / "clip.truth").mkdir()
    (tmp_path / "clip.truth" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="another name"):
        write_sample(tmp_path / "clip.mp4", SETTINGS)
    with pytest.raises(UserError, match=r"clip\.mp4"):
        write_sample(tmp_path / "clip.avi", SETTINGS)
    assert (tmp_path / "clip.truth" / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_nothing_is_left_when_it_stops(
    failure: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise failure

    monkeypatch.setattr(rendering, "draw_clean", stop)
    expected = OutputError if isinstance(failure, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        write_sample(tmp_path / "clip.mp4", SETTINGS)
    assert not list(tmp_path.iterdir())


def test_voice_is_quiet_and_follows_the_mouth() -> None:
    speech = np.zeros(30)
    speech[10:20] = 1.0
    voice = babble(speech, 15.0, seed=1, seconds=2.0)
    assert voice.shape == (2 * AUDIO_RATE,)
    assert np.abs(voice).max() <= 0.17
    level = np.square(voice[: 30 * (len(voice) // 30)].reshape(30, -1)).mean(1)
    assert level[12:18].min() > 20 * max(level[:8].max(), level[22:].max())
    assert np.array_equal(voice, babble(speech, 15.0, seed=1, seconds=2.0))
    assert not np.array_equal(voice, babble(speech, 15.0, seed=2, seconds=2.0))
