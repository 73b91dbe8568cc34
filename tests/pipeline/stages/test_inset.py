"""A turned head in its frames: it is moved back onto its neck, covers the source's face, and nothing else."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import inverters.editing.stitching
from inverters.people.params import sample_scores
from inverters.people.picture import portraits
from inverters.rendering.cameras import default_intrinsics, look_at
from pipeline.clip import U8, Crops
from pipeline.errors import UserError
from pipeline.job.walker import run_job
from pipeline.report.manifest import JobResult
from pipeline.request.checks import check_request
from pipeline.request.edits import Edit, View
from pipeline.request.settings import (
    CompositeSettings,
    DecodeSettings,
    EditSettings,
    EncodeSettings,
    Settings,
)
from pipeline.stages.decode import decode
from pipeline.stages.edit import turned_cameras
from pipeline.stages.inset import (
    InsetMasks,
    flow_shift,
    head_motion,
    moved_affines,
    project,
    smooth_shifts,
)
from pipeline.stages.pixels import to_bytes
from pipeline.video.masks import face_masks
from tests.pipeline.fakes import SIZE, FakeRenderer, Fakes, install, write_clip
from tests.pipeline.stages.laid_over import blend, composite

S = 96
EVERYWHERE = np.ones((S, S), bool)
STILL = np.array([[[1.0, 0, 0], [0, 1, 0]]])
RING = np.linspace(0, 2 * np.pi, 68, endpoint=False)
NECK = np.array([[0.0, -0.30, 0.05]])
"""The front of the neck of a made-up person, in its world."""


def texture(dx: float = 0.0, dy: float = 0.0) -> U8:
    """A smooth pattern, moved by so many pixels."""
    noise = np.random.default_rng(0).integers(0, 256, (2 * S, 2 * S, 3)).astype(np.float32)
    wide = cv2.GaussianBlur(noise, (0, 0), 4.0)
    wide = 255 * (wide - wide.min()) / (wide.max() - wide.min())
    move = np.array([[1.0, 0.0, dx - S / 2], [0.0, 1.0, dy - S / 2]])
    return np.asarray(cv2.warpAffine(wide, move, (S, S)), np.uint8)


def head(view: View) -> tuple[U8, np.ndarray]:
    """A made-up person from its camera turned by a view; the picture and the camera [1,4,4]."""
    scores = sample_scores(1, torch.Generator().manual_seed(3))
    own = look_at(torch.tensor([0.05]), torch.tensor([0.02])).float().numpy()
    camera = turned_cameras(own, view, (0.0, 0.0, 0.2))
    image = portraits(scores, torch.from_numpy(camera), default_intrinsics(1), (S, S))
    return to_bytes(image)[0], camera


@pytest.mark.parametrize("moved", [3.0, -5.0, 8.0])
@pytest.mark.parametrize("down", [False, True])
def test_a_known_motion_is_found_and_taken_back(moved: float, down: bool) -> None:
    motion = np.array([0.0, moved] if down else [moved, 0.0])
    middle = np.zeros((S, S), bool)
    middle[24:-24, 24:-24] = True  # away from what comes in at the picture's edge
    shift = flow_shift(texture(), texture(*motion), 2.5 * motion, middle)
    wanted = -motion * (0.75, 0.2)
    assert np.linalg.norm(shift - wanted) < 0.15 * np.linalg.norm(wanted)


def test_the_inset_moves_no_farther_than_the_head_is_expected_to() -> None:
    for most in (0.5, 2.0):
        shift = flow_shift(texture(), texture(8.0), np.array([most, 0.0]), EVERYWHERE)
        assert shift[0] < 0 and math.hypot(*shift) == pytest.approx(most)


def test_flow_that_says_nothing_leaves_the_inset_where_it_is() -> None:
    plain, right = texture(), texture(4.0)
    flat = np.full_like(plain, 90)
    for before, after, expected in (
        (plain, plain, (1.0, 0.0)),
        (flat, flat, (1.0, 0.0)),
        (plain, right, (-1.0, 0.0)),
        (plain, right, (0.0, 0.0)),
    ):
        shift = flow_shift(before, after, np.array(expected), EVERYWHERE)
        assert np.abs(shift).max() < 0.1, "what the flow finds between equal pictures"
    assert not flow_shift(plain, right, np.array([1.0, 0.0]), ~EVERYWHERE).any()


@pytest.mark.parametrize("yaw", [0.3, -0.3])
def test_a_turned_head_stays_on_its_neck(yaw: float) -> None:
    (before, own), (after, other) = head(View()), head(View(yaw))
    lens = default_intrinsics(1).numpy()
    middle = np.hypot(*np.mgrid[-S // 2 : S // 2, -S // 2 : S // 2]) < 0.25 * S
    shift = flow_shift(before, after, head_motion(own, other, lens, S)[0], middle)
    neck = (project(NECK, other, lens, S) - project(NECK, own, lens, S))[0, 0]
    assert abs(neck[0] + shift[0]) < 0.5 * abs(neck[0])


def test_shifts_are_smoothed_within_what_shows_a_face() -> None:
    times, run = np.array([0, 1, 2, 3, 10, 11, 12]) / 25, np.array([0] * 4 + [1] * 3)
    shifts = np.array([[1.0, 2.0]] * 4 + [[-5.0, 0.0]] * 3)
    still = np.full((7, 2), (-3.0, 1.0))
    np.testing.assert_allclose(smooth_shifts(shifts, still, times, run), shifts, atol=1e-12)
    shifts[1] = 9.0
    smoothed = smooth_shifts(shifts, still, times, run)
    assert 1.0 < smoothed[1, 0] < 5.0 and np.allclose(smoothed[4:], shifts[4:])
    assert not smooth_shifts(np.zeros((7, 2)), still, times, run).any()


def test_smoothing_does_not_hold_an_orbit_back() -> None:
    frames = np.arange(8)
    angles = 2 * np.pi * frames / 8
    expected = 20 * np.stack([np.sin(angles), 1 - np.cos(angles)], 1)
    shifts = smooth_shifts(-0.8 * expected, expected, frames / 25, np.zeros(8, int))
    np.testing.assert_allclose(shifts, -0.8 * expected, atol=1e-9)


def ring(x: float, y: float, radius: float) -> np.ndarray:
    return np.stack([x + radius * np.cos(RING), y + radius * np.sin(RING)], -1)[None]


@settings(max_examples=25)
@given(
    shift=st.tuples(st.floats(-12, 12), st.floats(-12, 12)),
    turn=st.tuples(st.floats(-6, 6), st.floats(-6, 6)),
)
def test_the_inset_covers_the_sources_face_and_changes_nothing_outside_its_mask(
    shift: tuple[float, float], turn: tuple[float, float]
) -> None:
    rules = CompositeSettings()
    affine = np.array([[1.5, 0.1, -20.0], [-0.1, 1.5, -10.0]])
    source = list(face_masks(ring(48, 48, 18), STILL, S, rules))
    shifts = np.array([shift])
    shown = InsetMasks(ring(48 + turn[0], 48 + turn[1], 18), source, shifts, S, rules)[0]
    moved = moved_affines(affine[None], shifts, np.array([0]))[0]
    frame = np.random.default_rng(1).integers(0, 256, (90, 110, 3), dtype=np.uint8)
    white = np.full((S, S, 3), 255, np.uint8)
    black = np.zeros((90, 110, 3), np.uint8)
    own = blend(black, white, source[0], affine, S)[..., 0].astype(int)
    mixed = blend(black, white, shown, moved, S)[..., 0].astype(int)
    assert (mixed >= own - 16).all(), "nothing of the source's own face remains"
    done = blend(frame, white, shown, moved, S)
    assert np.array_equal(done[mixed == 0], frame[mixed == 0])
    assert (done[mixed == 255] == 255).all() and (mixed == 255).any()


def test_parts_that_do_not_touch_the_face_are_left_to_the_source() -> None:
    source = next(face_masks(ring(48, 48, 18), STILL, S, CompositeSettings())).copy()
    alone = InsetMasks(ring(48, 48, 18), [source.copy()], np.zeros((1, 2)), S, CompositeSettings())[0]
    source[8:14, 70:80] = 255
    source[44:52, 60:84] = 255
    shown = InsetMasks(ring(48, 48, 18), [source], np.zeros((1, 2)), S, CompositeSettings())[0]
    assert not shown[:16, 60:].any() and (shown[45:51, 60:83] == 255).all()
    assert (shown >= alone).all()


@pytest.mark.parametrize("angle", [1e-2, 1e-4])
def test_small_angles_converge_to_the_composite_that_is_not_turned(angle: float, tmp_path: Path) -> None:
    lens = default_intrinsics(1).numpy()
    (before, own), (after, other) = head(View()), head(View(angle))
    clip = decode(write_clip(tmp_path / "c.mp4", frames=1), DecodeSettings(), tmp_path)
    points = ring(48, 48, 20)
    source = list(face_masks(points, STILL, S, CompositeSettings()))
    shift = flow_shift(before, after, head_motion(own, other, lens, S)[0], source[0] > 0)[None]
    turned = points + project(NECK, other, lens, S) - project(NECK, own, lens, S)
    masks = InsetMasks(turned, source, shift, S, CompositeSettings())
    affine = np.array([[[1.2, 0.0, -4.0], [0.0, 1.2, -2.0]]])
    still, inset = (
        next(composite(clip, Crops(where, S), [image], {0: 0}, masks_, CompositeSettings()))
        for where, image, masks_ in (
            (affine, before, source),
            (moved_affines(affine, shift, np.array([0])), after, masks),
        )
    )
    difference = float(np.abs(still.astype(int) - inset).mean())
    assert difference < (1.5 if angle > 1e-3 else 0.05)
    assert math.hypot(*shift[0]) < (2.0 if angle > 1e-3 else 0.05)


def frames_of(path: Path, folder: Path) -> list[np.ndarray]:
    return list(decode(path, DecodeSettings(), folder).frames())


@pytest.mark.parametrize("view", [View(0.3), View(orbit=True)])
def test_a_job_puts_its_view_back_into_the_frames(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, view: View
) -> None:
    fakes: Fakes = install(monkeypatch)
    clip, out = write_clip(tmp_path / "clip.mp4"), tmp_path / "out"
    asked = Settings(
        edit=EditSettings((Edit("smile", 1.0),), view=view, inset=True), encode=EncodeSettings(codec="ffv1")
    )
    manifest = run_job(clip, out, tmp_path / "cache", asked)
    assert manifest["outputs"]["turned"] == "turned.mkv"
    result = JobResult(out)
    shift, masks = (result.array(name) for name in ("inset/turned/shift", "composite/turned/masks"))
    assert shift is not None and masks is not None and masks.shape == (7, SIZE, SIZE)
    assert np.abs(shift).max() < 0.1, "the stand-in shows the same from everywhere"
    source, turned = frames_of(clip, tmp_path), frames_of(out / "turned.mkv", tmp_path)
    for index, (before, after) in enumerate(zip(source, turned, strict=True)):
        change = np.abs(after.astype(int) - before).max(-1)
        assert change[:4].max() == 0 and change[:, -4:].max() == 0
        assert (change.max() == 0) == (index in fakes.no_face)
    plain = run_job(
        clip, tmp_path / "plain", tmp_path / "cache", replace(asked, edit=EditSettings(view=view))
    )
    assert "turned" not in plain["outputs"] and plain["request"] != manifest["request"]


def test_a_turned_head_is_stitched_as_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch)
    rows: list[int] = []

    def green(row: int, cam2world: Any, lens: Any, ws: Any, edited: Any, source: Any, *rest: Any) -> Any:
        rows.append(row)
        assert abs(float(cam2world[0, 0, 3])) > 0.5, "from where the view is seen"
        assert not torch.equal(edited, source)
        return torch.tensor([-1.0, 1.0, -1.0]).reshape(1, 3, 1, 1).expand_as(edited)

    monkeypatch.setattr(
        inverters.editing.stitching, "Stitcher", lambda renderer, preset: SimpleNamespace(stitch=green)
    )
    clip, out = write_clip(tmp_path / "clip.mp4"), tmp_path / "out"
    asked = Settings(
        edit=EditSettings(view=View(0.3), inset=True),
        composite=CompositeSettings(stitch="codes"),
        encode=EncodeSettings(codec="ffv1"),
    )
    check_request(clip, out, asked)
    monkeypatch.setattr(FakeRenderer, "render", brighter(FakeRenderer.render))
    manifest = run_job(clip, out, tmp_path / "cache", asked)
    assert rows == list(range(7)) and "stitch/turned/images" in manifest["arrays"]
    shown = frames_of(out / "turned.mkv", tmp_path)[0]
    assert shown[40, 40, 1] > 245 > 10 > shown[40, 40, 0], "the stitched picture"


def brighter(render: Any) -> Any:
    """A stand-in's rendering that is another from another camera."""

    def rendered(self: Any, rows: Any, cam2world: Any, *rest: Any, **how: Any) -> Any:
        seen = render(self, rows, cam2world, *rest, **how)
        seen.image = seen.image + 0.1 * cam2world[:, 0, 3].reshape(-1, 1, 1, 1)
        return seen

    return rendered


def test_an_inset_needs_a_view(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=2)
    with pytest.raises(UserError, match="--inset has no view to put into the frames") as caught:
        check_request(clip, tmp_path / "out", Settings(edit=EditSettings(inset=True)))
    assert caught.value.exit_code == 2 and not (tmp_path / "out").exists()
