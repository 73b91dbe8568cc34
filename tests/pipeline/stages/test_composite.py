"""composite: the render appears inside the mask, and nowhere else does a bit change."""

from __future__ import annotations

import gc
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.clip import Clip, Crops
from pipeline.request.settings import CompositeSettings
from pipeline.video.masks import crop_mask
from pipeline.video.warp import warp_crop, warp_points
from tests.pipeline.stages.laid_over import blend, composite

KNOBS = CompositeSettings()


class Made:
    """Frames made on demand."""

    def __init__(self, count, shape=(60, 80, 3)):
        self.count, self.shape = count, shape

    def __len__(self):
        return self.count

    def frames(self, start=0, stop=None):
        for index in range(start, self.count if stop is None else stop):
            yield np.random.default_rng(index).integers(0, 256, self.shape, dtype=np.uint8)


def clip_of(source):
    count = len(source)
    height, width = source.shape[:2]
    return Clip(
        path=Path("x"),
        content_hash="",
        width=width,
        height=height,
        times=np.arange(count) / 25,
        pts=np.arange(count),
        time_base=Fraction(1, 25),
        rate=Fraction(25),
        duration=count / 25,
        has_audio=False,
        source=source,
    )


def affine_of(scale, angle, x, y):
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, x], [s, c, y]])


def bump(size):
    """A soft disc that ends well inside the crop, uint8 [S,S]."""
    y, x = np.mgrid[0:size, 0:size] + 0.5
    distance = np.hypot(x - size / 2, y - size / 2) / size
    return np.rint(255 * np.clip((0.35 - distance) / 0.1, 0, 1)).astype(np.uint8)


@settings(max_examples=50)
@given(
    st.floats(0.3, 3.0),
    st.floats(-3.1, 3.1),
    st.floats(-60, 60),
    st.floats(-60, 60),
    st.sampled_from([16, 32, 64]),
)
def test_outside_the_mask_every_bit_is_the_sources(scale, angle, x, y, size):
    frame = next(Made(1).frames())
    affine = affine_of(scale, angle, x, y)
    picture = np.full((size, size, 3), 255, np.uint8)
    out = blend(frame, picture, bump(size), affine, 32)
    rows, columns = np.mgrid[0:60, 0:80] + 0.5
    at = warp_points(np.stack([columns, rows], -1), affine) * size / 32
    support = np.flatnonzero(bump(size).any(0))
    radius = (support[-1] - support[0] + 1) / 2 + 1.0  # a bilinear sample sees one pixel further
    far = np.hypot(*(at - size / 2).transpose(2, 0, 1)) > radius * 1.1 + 1
    assert np.array_equal(out[far], frame[far])
    centre = np.hypot(*(at - size / 2).transpose(2, 0, 1)) < 0.1 * size
    if scale < 1:  # each frame pixel of the middle lies within the full part of the mask
        assert (out[centre] == 255).all()


def test_an_edit_keeps_the_detail_that_no_render_has():
    size, affine = 64, affine_of(1, 0, 0, 0)
    detail = np.random.default_rng(0).integers(0, 30, (64, 64, 3), np.uint8)
    frame = 100 + detail
    plain = np.full((size, size, 3), 115, np.uint8)  # the render has none of it
    same = blend(frame, plain, bump(size), affine, size, plain)
    assert np.array_equal(same, frame)
    brighter = plain.copy()
    brighter[:, :32] += 10  # a hint: taken over as a difference
    brighter[36:44, 36:44] = 255  # something new: taken over as it is
    out = blend(frame, brighter, bump(size), affine, size, plain).astype(int)
    hint = out[28:36, 20:28] - frame[28:36, 20:28]
    assert hint.min() >= 6 and hint.max() <= 10 + 4
    assert (out[39:41, 39:41] >= 250).all()
    assert np.array_equal(out[22:25, 36:40], frame[22:25, 36:40])


def test_frames_without_a_face_are_the_very_same_objects():
    source = Made(6)
    clip = clip_of(source)
    affine = np.stack([affine_of(1.0, 0.1, -10, -5)] * 6)
    affine[4] = np.nan
    rendered = np.zeros((3, 32, 32, 3), np.uint8)
    masks = np.stack([bump(32)] * 3)
    out = list(composite(clip, Crops(affine, 32), rendered, {1: 0, 2: 1, 4: 2}, masks, KNOBS))
    changed = [i for i, (a, b) in enumerate(zip(out, source.frames())) if not np.array_equal(a, b)]
    assert changed == [1, 2]  # frame 4 has a row but no crop
    as_array = np.array([-1, 0, 1, -1, 2, -1])
    again = list(composite(clip, Crops(affine, 32), rendered, as_array, masks, KNOBS))
    assert all(np.array_equal(a, b) for a, b in zip(out, again))
    part = list(composite(clip, Crops(affine, 32), rendered, as_array, masks, KNOBS, start=2, stop=4))
    assert len(part) == 2 and np.array_equal(part[0], out[2])


def test_empty_masks_and_misplaced_crops_pass_the_frame_on():
    frame = next(Made(1).frames())
    picture = np.zeros((32, 32, 3), np.uint8)
    assert blend(frame, picture, np.zeros((32, 32), np.uint8), affine_of(1, 0, 0, 0), 32) is frame
    assert blend(frame, picture, bump(32), affine_of(1, 0, 5000, 0), 32) is frame


@pytest.mark.parametrize("scale", [0.4, 1.0, 2.2])
def test_putting_the_sources_own_crop_back_changes_almost_nothing(scale):
    y, x = np.mgrid[0:200, 0:240]
    frame = np.stack([128 + 80 * np.sin(x / 23 + k) * np.cos(y / 29) for k in range(3)], -1).astype(np.uint8)
    affine = affine_of(scale, 0.3, 10.0, -20.0 * scale)
    crop = warp_crop(frame, affine, 64)
    out = blend(frame, crop, crop_mask(64, 0.1), affine, 64)
    inside = warp_points(np.stack(np.meshgrid(np.arange(240) + 0.5, np.arange(200) + 0.5), -1), affine)
    keep = ((inside > 6) & (inside < 58)).all(-1)
    keep[:12], keep[:, :12], keep[-12:], keep[:, -12:] = False, False, False, False
    assert keep.any()
    assert np.abs(out.astype(int) - frame)[keep].mean() < 1.5


def test_render_of_another_size_and_float_masks():
    frame = np.zeros((60, 80, 3), np.uint8)
    affine = affine_of(1.0, 0.0, -10, -5)
    big = blend(frame, np.full((64, 64, 3), 200, np.uint8), bump(64), affine, 32)
    small = blend(frame, np.full((32, 32, 3), 200, np.uint8), bump(32) / 255.0, affine, 32)
    assert big[21, 26].tolist() == small[21, 26].tolist() == [200, 200, 200]
    assert np.abs(big.astype(int) - small).mean() < 1.0


def test_half_a_mask_is_the_mean():
    frame = np.full((40, 40, 3), 100, np.uint8)
    mask = np.zeros((40, 40), np.float32)
    mask[10:30, 10:30] = 0.5
    out = blend(frame, np.full((40, 40, 3), 200, np.uint8), mask, affine_of(1, 0, 0, 0), 40)
    assert (out[11:29, 11:29] == 150).all()
    assert (out[:10] == 100).all() and (out[30:] == 100).all()


def test_without_masks_the_whole_crop_is_blended_with_a_feather():
    clip = clip_of(Made(1, (64, 64, 3)))
    crops = Crops(affine_of(1.0, 0.0, 0.0, 0.0)[None], 64)
    (out,) = composite(clip, crops, np.full((1, 64, 64, 3), 9, np.uint8), {0: 0}, None, KNOBS)
    assert (out[8:-8, 8:-8] == 9).all()
    (source,) = clip.frames()
    assert np.array_equal(out[0], source[0]) and np.array_equal(out[:, -1], source[:, -1])


def test_memory_is_that_of_a_few_frames():
    source = Made(60, (180, 320, 3))
    clip = clip_of(source)
    crops = Crops(np.stack([affine_of(0.5, 0.1, 0, 0)] * 60), 64)

    class Renders:
        def __getitem__(self, row):
            return np.full((64, 64, 3), row, np.uint8)

    class Masks:
        def __getitem__(self, row):
            return bump(64)

    gc.collect()
    tracemalloc.start()
    count = sum(1 for _ in composite(clip, crops, Renders(), np.arange(60), Masks(), KNOBS))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 60
    assert peak < 15 * 180 * 320 * 3
