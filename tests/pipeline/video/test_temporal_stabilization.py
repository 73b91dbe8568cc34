"""Held changes: flicker shrinks along the motion, and nothing is carried where it does not belong."""

from __future__ import annotations

import gc
import tracemalloc

import cv2
import numpy as np
import pytest

from pipeline.clip import Crops
from pipeline.request.settings import CompositeSettings
from pipeline.video.temporal_stabilization import TemporalStabilizer
from tests.pipeline.stages.laid_over import composite
from tests.pipeline.stages.test_composite import Made, affine_of, bump, clip_of

SIZE, COUNT = 96, 14
MOTION = (1.7, -0.6)
"""Pixels a frame; not whole ones."""


class Drawn:
    """Frames that are there already."""

    def __init__(self, frames):
        self.all, self.shape = frames, frames.shape[1:]

    def __len__(self):
        return len(self.all)

    def frames(self, start=0, stop=None):
        yield from self.all[start:stop]


def texture(seed=0, size=240):
    """A smooth random picture, as skin and cloth are; [size,size,3] in levels."""
    noise = np.random.default_rng(seed).normal(size=(size, size, 3)).astype(np.float32)
    rough, fine = cv2.GaussianBlur(noise, (0, 0), 6.0), cv2.GaussianBlur(noise, (0, 0), 1.5)
    return np.clip(128 + 40 * rough / rough.std() + 12 * fine / fine.std(), 0, 255)


def seen(picture, t, size=SIZE):
    """`picture` as it has moved by frame t, cut to [size,size]."""
    shift = np.float32([[1, 0, MOTION[0] * t - 60], [0, 1, MOTION[1] * t - 60]])
    return cv2.warpAffine(picture, shift, (size, size), flags=cv2.INTER_LANCZOS4)


def clip_and_edit(noise=0.0, gain=0.0, strength=None):
    """A moving clip; its frames with a spot that moves along, edited with flicker; the edit without it."""
    rng = np.random.default_rng(4)
    picture, spot = texture(), np.zeros((240, 240, 3), np.float32)
    cv2.circle(spot, (100, 115), 14, (60.0, -40.0, 30.0), -1)
    spot = cv2.GaussianBlur(spot, (0, 0), 1.0)
    frames = np.stack([seen(picture, t) for t in range(COUNT)])
    true = np.stack([seen(spot, t) for t in range(COUNT)])
    if strength is not None:
        true = true * np.asarray(strength, np.float32).reshape(-1, 1, 1, 1)
    flicker = noise * rng.normal(size=frames.shape) + gain * rng.normal(size=(COUNT, 1, 1, 1)) * (true != 0)
    return to_bytes(frames), to_bytes(frames + true + flicker), true


def to_bytes(frames):
    return np.clip(np.rint(frames), 0, 255).astype(np.uint8)


def put_back(frames, edited, held, masks=None, whole=False):
    """Composited frames, the crop being the frame."""
    count = len(frames)
    crops = Crops(np.stack([affine_of(1.0, 0.0, 0.0, 0.0)] * count), SIZE)
    masks = np.stack([bump(SIZE)] * count) if masks is None else masks
    clip, rows = clip_of(Drawn(frames)), np.arange(count)
    knobs = CompositeSettings()
    plain = None if whole else frames
    return np.stack(list(composite(clip, crops, edited, rows, masks, knobs, plain=plain, held=held)))


def middle():
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    return np.hypot(x - SIZE / 2, y - SIZE / 2) < 0.2 * SIZE


def flicker_of(out, frames, true):
    """RMS step from frame to frame of what is wrong with the edit, followed along the motion, in levels."""
    wrong = out.astype(np.float32) - frames - true
    back = np.float32([[1, 0, -MOTION[0]], [0, 1, -MOTION[1]]])
    there = [cv2.warpAffine(e, back, (SIZE, SIZE)) for e in wrong]
    return float(np.sqrt(np.mean([(b - a)[middle()] ** 2 for a, b in zip(wrong, there[1:])])))


@pytest.mark.parametrize("whole", [False, True])  # the difference of an edit, or all of a stitched picture
@pytest.mark.parametrize(("noise", "gain"), [(8.0, 0.0), (0.0, 8.0)])
def test_flicker_shrinks_along_the_motion(noise, gain, whole):
    frames, edited, true = clip_and_edit(noise, gain)
    loose = put_back(frames, edited, None, whole=whole)
    steady = put_back(frames, edited, np.ones(COUNT, bool), whole=whole)
    before, after = flicker_of(loose, frames, true), flicker_of(steady, frames, true)
    assert after < 0.6 * before


def test_a_true_edit_that_moves_is_neither_blurred_nor_left_behind():
    frames, edited, true = clip_and_edit()
    loose = put_back(frames, edited, None).astype(np.float32)
    steady = put_back(frames, edited, np.ones(COUNT, bool)).astype(np.float32)
    wrong = np.sqrt(((steady - loose)[:, middle()] ** 2).mean())
    size = np.sqrt(((loose - frames)[:, middle()] ** 2).mean())
    assert wrong < 0.06 * size
    outside = ~middle() & (np.abs(true).max(-1) < 0.5)
    assert np.abs(steady - frames)[outside].mean() < 0.1, "no ghost trails the edit"


def test_what_stands_still_stays_to_the_bit():
    still = to_bytes(seen(texture(), 0))
    frames = np.stack([still] * 6)
    edited = np.stack([to_bytes(still + 40.0 * middle()[..., None])] * 6)
    loose, steady = (put_back(frames, edited, held) for held in (None, np.ones(6, bool)))
    assert np.array_equal(loose, steady) and not np.array_equal(loose, frames)


def test_nothing_is_carried_over_a_cut_or_a_frame_without_a_face():
    frames, edited, _ = clip_and_edit(gain=8.0)
    other = to_bytes(np.stack([seen(texture(1), t) for t in range(COUNT)]))
    frames[7:] = other[7:]
    edited[7:] = np.minimum(other[7:].astype(int) + 20, 255)
    held = np.ones(COUNT, bool)
    steady, loose = put_back(frames, edited, held), put_back(frames, edited, None)
    assert np.array_equal(steady[7], loose[7])
    assert not np.array_equal(steady[6], loose[6])
    frames, edited, _ = clip_and_edit(gain=8.0)
    clip, crops = clip_of(Drawn(frames)), Crops(np.stack([affine_of(1.0, 0.0, 0.0, 0.0)] * COUNT), SIZE)
    rows = np.array([*range(7), -1, *range(7, COUNT - 1)])
    masks = np.stack([bump(SIZE)] * COUNT)
    of_row = np.delete(np.arange(COUNT), 7)
    what = (clip, crops, edited[of_row], rows, masks, CompositeSettings())
    steady = list(composite(*what, plain=frames[of_row], held=held))
    loose = put_back(frames, edited, None)
    assert steady[7] is not loose[7] and np.array_equal(steady[7], frames[7])
    assert np.array_equal(steady[8], loose[8]) and not np.array_equal(steady[9], loose[9])


def test_outside_the_mask_and_in_rows_that_are_not_held_nothing_is_carried():
    frames, edited, _ = clip_and_edit(noise=8.0)
    masks = np.stack([bump(SIZE)] * COUNT)
    masks[5:, :, : SIZE // 2] = 0
    held = np.ones(COUNT, bool)
    held[9] = False
    steady, loose = (put_back(frames, edited, h, masks) for h in (held, None))
    assert np.array_equal(steady[5:, :, : SIZE // 2 - 1], frames[5:, :, : SIZE // 2 - 1])
    assert np.array_equal(steady[9], loose[9]) and not np.array_equal(steady[10], loose[10])
    again = put_back(frames, edited, held, masks)
    assert np.array_equal(steady, again)


def test_an_edit_that_becomes_another_one_is_not_held_back():
    """From one frame to the next the spot is turned to its opposite."""
    frames, edited, true = clip_and_edit(strength=[1.0] * 7 + [-1.0] * 7)
    steady, loose = put_back(frames, edited, np.ones(COUNT, bool)), put_back(frames, edited, None)
    inside = cv2.erode((np.abs(true[7]).max(-1) > 55).astype(np.uint8), np.ones((3, 3))) > 0
    assert inside.sum() > 300 and np.array_equal(steady[7][inside], loose[7][inside])


def test_changes_too_small_to_follow_are_taken_as_they_are():
    steady, rng = TemporalStabilizer(), np.random.default_rng(0)
    for index in range(3):
        frame = rng.integers(0, 255, (9, 9, 3), np.uint8)
        layer = rng.normal(size=(9, 9, 4)).astype(np.float32)
        assert np.array_equal(steady(index, frame, layer, np.ones((9, 9), bool), (0, 0, 9, 9)), layer)


def test_what_is_replaced_does_not_shine_through():
    """One colour is laid over sharp stripes that move: none of them may be left in it."""
    y, x = np.mgrid[:240, :240].astype(np.float32)
    stripes = texture() * 0.2 + 100 + 80 * (np.sin((y + 0.3 * x) / 2.5) > 0)[..., None]
    frames = to_bytes(np.stack([seen(stripes, t) for t in range(COUNT)]))
    steady = put_back(frames, np.full_like(frames, 120), np.ones(COUNT, bool), whole=True)
    assert (steady[:, middle()] == 120).all()


def test_memory_does_not_grow_with_the_clip():
    def peak(count):
        crops = Crops(np.stack([affine_of(0.5, 0.1, 0, 0)] * count), 64)
        renders, masks = np.full((count, 64, 64, 3), 90, np.uint8), np.stack([bump(64)] * count)
        clip, rows, held = clip_of(Made(count, (120, 160, 3))), np.arange(count), np.ones(count, bool)
        gc.collect()
        tracemalloc.start()
        assert count == sum(
            1 for _ in composite(clip, crops, renders, rows, masks, CompositeSettings(), held=held)
        )
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(4)
    assert peak(40) < 1.1 * peak(8)
