"""Grain and blur of a change are those of the source beside it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.clip import Crops
from pipeline.request.settings import CompositeSettings, DecodeSettings
from pipeline.stages.composite import Overlays, Texture, composited
from pipeline.stages.decode import decode
from pipeline.video.texture import GrainMeter, blur_of, blurred
from tests.pipeline.video.media import make_video

SIDE = 128
STILL = np.array([[1.0, 0, 0], [0, 1.0, 0]])


def scene(size: int = SIDE) -> np.ndarray:
    """Smooth float64 [size,size,3] in levels."""
    y, x = np.mgrid[:size, :size]
    waves = 140 + 30 * np.sin(x / 30), 110 + 20 * np.cos(y / 40), 100 + 20 * np.sin((x + y) / 25)
    return np.stack(waves, -1)


def grainy(level: float, soft: float, count: int) -> list[np.ndarray]:
    """Pictures of the scene with grain of its own in each; soft: sigma in pixels of its blur."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        noise = rng.normal(0, 1, (SIDE, SIDE, 3))
        if soft:
            noise = cv2.GaussianBlur(noise, (0, 0), soft)
        found.append(np.clip(np.rint(scene() + level * noise / noise.std()), 0, 255).astype(np.uint8))
    return found


def grain_of(pictures: list[np.ndarray], area: tuple[slice, slice]) -> float:
    """Standard deviation of what a Gaussian of one pixel leaves, of what changes from picture to picture."""
    mean = np.mean(pictures, axis=0)
    fine = [picture - mean for picture in pictures]
    return float(np.std([(one - cv2.GaussianBlur(one, (0, 0), 1.0))[area] for one in fine]))


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(("level", "soft"), [(3.0, 0.0), (6.0, 0.0), (5.0, 0.7), (4.0, 1.0)])
def test_what_is_replaced_has_the_grain_beside_it(tmp_path, level, soft, deep):
    count = 5
    path = tmp_path / ("a.mkv" if deep else "a.mp4")
    how = (
        {"codec": "ffv1", "pix_fmt": "yuv444p10le"}
        if deep
        else {"pix_fmt": "yuv444p", "options": {"qp": "0"}}
    )
    make_video(path, count, (SIDE, SIDE), pictures=grainy(level, soft, count), matrix=1, range_=1, **how)
    clip = decode(path, DecodeSettings(), tmp_path)
    render = np.repeat(np.rint(scene()).astype(np.uint8)[None], count, 0)
    masks = np.zeros((count, SIDE, SIDE), np.uint8)
    masks[:, 32:96, 32:96] = 255
    crops = Crops(np.repeat(STILL[None], count, 0), SIDE)
    texture = Texture(render, render)
    rows = dict(enumerate(range(count)))
    what = (crops, render, rows, masks, CompositeSettings(), (SIDE, SIDE))
    from pipeline.video.reader import view_of

    def shown(overlays):
        return [f if clip.deep is None else view_of(f, None) for _, f, _ in composited([overlays], clip)]

    plain, matched = shown(Overlays(*what)), shown(Overlays(*what, texture=texture))
    inner, beside = (slice(40, 88), slice(40, 88)), (slice(4, 28), slice(4, 124))
    assert grain_of(plain, inner) < 0.1 * grain_of(plain, beside)
    assert 0.7 <= grain_of(matched, inner) / grain_of(matched, beside) <= 1.3
    np.testing.assert_array_equal(matched[0][beside], plain[0][beside])


@pytest.mark.parametrize("move", [(0, 1), (2, 1), (3, 5)])
def test_fine_detail_that_moves_is_no_grain(move):
    fine = cv2.GaussianBlur(np.random.default_rng(3).normal(0, 1, (SIDE, SIDE, 3)), (0, 0), 1.2)
    first = np.clip(np.rint(scene() + 4 * fine / fine.std()), 0, 255).astype(np.uint8)
    meter = GrainMeter()
    meter.see(first, np.roll(first, move, axis=(0, 1)))
    assert meter.grain is None


@pytest.mark.parametrize("level", [2.0, 5.0])
def test_grain_is_found_where_the_picture_moves(level):
    rng, wide = np.random.default_rng(4), drawing()
    parts = [np.roll(wide, 2 * step, axis=1) + rng.normal(0, level, wide.shape) for step in range(2)]
    meter = GrainMeter()
    meter.see(*(np.clip(np.rint(part), 0, 255).astype(np.uint8) for part in parts))
    found = np.sqrt(np.diag(meter.grain.covariance))
    assert (np.abs(found / level - 1) < 0.3).all()


def test_grain_is_that_of_the_picture_not_of_its_number():
    first, second = grainy(5.0, 0.0, 2)
    meter = GrainMeter()
    meter.see(first, second)
    grain = meter.grain
    np.testing.assert_array_equal(grain.field(first), grain.field(first.copy()))
    assert np.abs(grain.field(first) - grain.field(second)).max() > 1
    meter.see(second, second)  # a repeated frame tells nothing
    np.testing.assert_array_equal(meter.grain.covariance, grain.covariance)


def drawing() -> np.ndarray:
    """Edges in all directions, uint8 [S,S,3]."""
    image = np.full((SIDE, SIDE, 3), 150, np.uint8)
    rng = np.random.default_rng(1)
    for _ in range(60):
        centre = tuple(int(v) for v in rng.integers(0, SIDE, 2))
        cv2.circle(
            image, centre, int(rng.integers(3, 14)), tuple(int(v) for v in rng.integers(40, 220, 3)), -1
        )
    return image


def moved(image: np.ndarray, length: int, angle: float) -> np.ndarray:
    """The image blurred by a motion over so many pixels."""
    kernel, half = np.zeros((31, 31)), length / 2
    for at in np.linspace(-half, half, 200):
        kernel[round(15 + at * np.sin(angle)), round(15 + at * np.cos(angle))] += 1
    return cv2.filter2D(image, -1, kernel / kernel.sum())


def steepest(image: np.ndarray) -> float:
    """The 99th percentile of differences of neighbours in a row."""
    return float(np.percentile(np.abs(np.diff(image.astype(float), axis=1)), 99))


@pytest.mark.parametrize(("length", "angle"), [(7, 0.0), (13, 0.5), (15, 0.0)])
def test_an_edge_of_the_edit_is_as_blurred_as_the_heads_own(length, angle):
    sharp = drawing()
    source = moved(sharp, length, angle)
    kernel = blur_of(source, sharp, np.ones((SIDE, SIDE), np.float32))
    edited = sharp.copy()
    edited[50:70, 30:100] = 10  # what is added has edges that the source has not
    assert steepest(edited) > 1.5 * steepest(source)
    own, added = moved(edited, length, angle), blurred(edited, kernel)
    assert steepest(added) / steepest(own) <= 1.5
    assert np.abs(added.astype(int) - own).mean() < 0.5 * np.abs(edited.astype(int) - own).mean()


@pytest.mark.parametrize("level", [0.0, 4.0])
def test_a_sharp_picture_is_not_blurred(level):
    sharp = drawing()
    noise = np.random.default_rng(0).normal(0, level, sharp.shape)
    source = np.clip(sharp + noise, 0, 255).astype(np.uint8)
    assert blur_of(source, cv2.GaussianBlur(sharp, (0, 0), 0.6), np.ones((SIDE, SIDE), np.float32)) is None
    assert blur_of(source, sharp, np.ones((SIDE, SIDE), np.float32)) is None
