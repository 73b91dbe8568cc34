"""Clips as numbers: the same for a seed, smooth in time, with crops that are exactly EG3D's cameras."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inverters.errors import UnknownNameError
from inverters.people.animation import MAX_PITCH, MAX_YAW, speech_level, talking_clip
from inverters.people.clip_render import blendshapes, draw_clean, draw_occluded, pose
from inverters.people.occluders import OCCLUDERS
from inverters.people.params import PARAMETERS, index, to_values
from inverters.people.picture import draw
from inverters.rendering.cameras import FOCAL, angles

MOVING = ("smile", "mouth_open", "blink", "gaze_x", "gaze_y", "brows")


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**31 - 1),
    occluder=st.sampled_from([None, *OCCLUDERS]),
    fps=st.sampled_from([12.5, 15, 30]),
)
def test_every_seed_gives_a_proper_clip(seed: int, occluder: str | None, fps: float) -> None:
    clip = talking_clip(seed, 40, fps, occluder)
    again = talking_clip(seed, 40, fps, occluder)
    assert torch.equal(clip.scores, again.scores)
    assert torch.equal(clip.window, again.window)
    assert all(torch.equal(clip.state[name], again.state[name]) for name in clip.state)
    yaw, pitch = angles(clip.cam2world)
    assert yaw.abs().max() <= MAX_YAW + 1e-4
    assert pitch.abs().max() <= MAX_PITCH + 1e-4
    assert (yaw.diff().abs() * fps < 1.2).all()  # radians a second
    assert (clip.window[:, :2].diff(dim=0).abs() * fps < 90).all()  # pixels a second
    fixed = [i for i, p in enumerate(PARAMETERS) if p.name not in MOVING]
    assert (clip.scores[:, fixed] == clip.scores[0, fixed]).all()
    height, width = clip.size
    x, y, crop = clip.window.unbind(-1)
    assert ((x - crop / 2 > -4) & (x + crop / 2 < width + 4)).all()
    assert ((y - crop / 2 > -4) & (y + crop / 2 < height + 4)).all()


@given(seed=st.integers(0, 1000), u=st.floats(0, 1), v=st.floats(0, 1), size=st.integers(32, 512))
@settings(max_examples=20)
def test_crop_is_an_eg3d_camera(seed: int, u: float, v: float, size: int) -> None:
    """A frame's pixel and where the crop's affine puts it lie on the same ray of their two cameras."""
    clip = talking_clip(seed, 3, 15, size=(90, 120))
    height, width = clip.size
    affine = clip.crop_affine(size)
    pixel = torch.tensor([u * width, v * height, 1.0], dtype=torch.float64)
    for t in range(3):
        lens = clip.intrinsics[t].double()
        x = (u - lens[0, 2]) / lens[0, 0]
        y = (v - lens[1, 2]) / lens[1, 1]
        inside = affine[t] @ pixel / size
        assert float(inside[0]) == pytest.approx(float(FOCAL * x + 0.5), abs=1e-4)
        assert float(inside[1]) == pytest.approx(float(FOCAL * y + 0.5), abs=1e-4)


def test_the_head_is_alive() -> None:
    """Over six seconds the mouth opens and shuts, the eyes blink and the head turns both ways."""
    clip = talking_clip(7, 90, 15)
    values = to_values(clip.scores)
    assert values["mouth_open"].min() < 0.45
    assert values["mouth_open"].max() > 0.7
    assert 1 <= int(((values["blink"][1:, 0] > 0.9) & (values["blink"][:-1, 0] <= 0.9)).sum()) <= 8
    yaw, _ = angles(clip.cam2world)
    assert yaw.min() < -0.1
    assert yaw.max() > 0.1
    assert clip.scores[:, index("smile")].std() > 0.1


def test_mouth_follows_the_voice() -> None:
    clip = talking_clip(11, 60, 15)
    both = torch.stack([clip.speech, clip.scores[:, index("mouth_open")]])
    assert torch.corrcoef(both)[0, 1] > 0.99


def test_occluder_leaves_the_head_alone() -> None:
    bare, masked = talking_clip(5, 10, 15), talking_clip(5, 10, 15, "mask")
    assert torch.equal(bare.scores, masked.scores)
    assert torch.equal(bare.cam2world, masked.cam2world)
    assert not torch.equal(bare.scores[0], talking_clip(6, 10, 15).scores[0])


def test_speech_pauses() -> None:
    level = speech_level(torch.linspace(0, 10, 1000, dtype=torch.float64), torch.Generator().manual_seed(0))
    assert level.min() < 0.05
    assert level.max() > 0.8
    assert (level >= 0).all()
    assert (level <= 1).all()


def test_bad_requests() -> None:
    with pytest.raises(ValueError, match="above zero"):
        talking_clip(0, 0, 15)
    with pytest.raises(ValueError, match=r"from 0 to 1\.2"):
        talking_clip(0, 5, 15, yaw=1.5)
    with pytest.raises(UnknownNameError, match=r"beret.*hat.*scarf"):
        talking_clip(0, 5, 15, "beret")


@given(seed=st.integers(0, 1000), yaw=st.floats(0, 1.2))
@settings(max_examples=10)
def test_turns_no_further_than_asked(seed: int, yaw: float) -> None:
    clip = talking_clip(seed, 60, 15, yaw=yaw)
    turned, _ = angles(clip.cam2world)
    assert turned.abs().max() <= yaw + 1e-4
    assert turned.abs().max() >= 0.3 * yaw - 1e-4
    assert torch.equal(clip.scores, talking_clip(seed, 60, 15).scores)


def test_speech_opens_the_mouth_in_blendshapes() -> None:
    clip = talking_clip(11, 60, 15)
    jaw, blink = blendshapes(clip.scores, ("jawOpen", "eyeBlinkLeft")).unbind(1)
    assert torch.corrcoef(torch.stack([clip.speech, jaw]))[0, 1] > 0.9
    assert jaw.min() < 0.05 < 0.3 < jaw.max()
    assert blink.max() > 0.8  # of 0.88, at which the eyes are shut
    assert not blendshapes(clip.scores, ("tongueOut",)).any()


@pytest.mark.parametrize("name", ["mask", "glass"])
def test_partial_drawing_equals_full(name: str) -> None:
    """What is drawn only where the occluder is, of a person made from another, is the whole picture."""
    clip = talking_clip(7, 30, 15, name, size=(60, 80))
    t = 12
    posed = pose(clip, t, previous=pose(clip, 0).person)
    clean = draw_clean(clip, t, posed)
    covered = draw_occluded(clip, t, posed, clean)
    alone = pose(clip, t)
    whole = draw(alone.person, clip.cam2world[t], clip.intrinsics[t], clip.size, alone.occluder)
    assert (covered.image - (whole.image / 2 + 0.5)).abs().max() < 0.02
    assert (covered.alpha - whole.occluder).abs().max() < 0.02
    assert 0.02 < covered.mask.float().mean() < 0.4
    assert not clean.alpha.any()


def test_an_occluder_outside_the_picture_changes_nothing() -> None:
    clip = talking_clip(7, 2, 15, "hand", size=(30, 40))
    clip.state["way"][:] = -1.0
    posed = pose(clip, 0)
    clean = draw_clean(clip, 0, posed)
    assert torch.equal(draw_occluded(clip, 0, posed, clean).image, clean.image)
