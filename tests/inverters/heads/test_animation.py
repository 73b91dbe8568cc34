"""Clips as numbers: the same for a seed, smooth in time, with crops that are exactly EG3D's cameras."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inverters.errors import UnknownNameError
from inverters.heads.animation import MAX_PITCH, MAX_YAW, speech_level, talking_clip
from inverters.heads.clip_render import render_clean, render_occluded
from inverters.heads.occluders import OCCLUDERS, make_occluder
from inverters.heads.params import PARAMETERS, index, to_values
from inverters.heads.render import render
from inverters.rendering.cameras import FOCAL, angles

MOVING = ("smile", "mouth_open", "blink", "gaze_x", "gaze_y", "brow_height")


@settings(max_examples=25, deadline=None)
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
@settings(max_examples=20, deadline=None)
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
    with pytest.raises(UnknownNameError, match=r"beret.*hat"):
        talking_clip(0, 5, 15, "beret")


@pytest.mark.parametrize("name", ["mask", "hand"])
def test_partial_rendering_equals_full(name: str) -> None:
    """What is rendered only where it can differ is what four rays a pixel everywhere give."""
    clip = talking_clip(7, 30, 15, name, size=(30, 40))
    t = 12
    scores = clip.scores[t : t + 1].clone()
    scores[:, index("smile")] += 1.5
    occluder = make_occluder(name, to_values(scores), {k: v[t : t + 1] for k, v in clip.state.items()})
    camera, lens = clip.cam2world[t : t + 1], clip.intrinsics[t : t + 1]
    full = render(scores, camera, lens, clip.size, occluder=occluder, antialias=True)
    first = render_clean(clip, t)
    edited = render_clean(clip, t, scores, (first, clip.scores[t : t + 1]))
    covered = render_occluded(clip, t, edited, scores)
    error = (covered.image - (full.image[0] / 2 + 0.5)).square().mean()
    assert -10 * torch.log10(error) > 38
    assert (covered.mask ^ full.occluder_mask[0]).float().mean() < 0.005
    assert not edited.mask.any()
    assert (edited.image - first.image).abs().max() > 0.05
