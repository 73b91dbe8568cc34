"""What passes before a face is found where it passes, and nowhere else; landmarks there are mended."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.faces.covers import (
    LEAST,
    WINDOW,
    cover_in,
    find_covers,
    frames_after,
    no_cover,
    taken_from_neighbours,
)

COUNT = 30
TIMES = np.arange(COUNT) / 25
ONE = np.zeros(COUNT, int)
STILL = np.tile(np.eye(2, 3), (COUNT, 1, 1))


def one_face() -> np.ndarray:
    """68 points of a face 30 wide and 34 high in the middle of a window."""
    points = np.full((68, 2), 24.0)
    down = np.linspace(np.pi, 0, 17)
    points[:17] = np.stack([24 + 15 * np.cos(down), 20 + 22 * np.sin(down)], axis=1)
    points[17:27] = np.stack([np.linspace(12, 36, 10), np.full(10, 14.0)], axis=1)
    for first, x, y, width, height in ((36, 17, 19, 3, 1), (42, 31, 19, 3, 1), (48, 24, 34, 5, 2)):
        count = 6 if first < 48 else 20
        around = np.linspace(0, 2 * np.pi, count, endpoint=False)
        points[first : first + count] = np.stack(
            [x + width * np.cos(around), y + height * np.sin(around)], axis=1
        )
    return points


FACE = np.tile(one_face(), (COUNT, 1, 1))


def windows(noise: float = 2.0) -> np.ndarray:
    """A face with some detail, the same in all frames but for noise."""
    rng = np.random.default_rng(0)
    one = cv2.GaussianBlur(rng.uniform(60, 220, (WINDOW, WINDOW, 3)).astype(np.float32), (0, 0), 2)
    return np.clip(one + rng.normal(0, noise, (COUNT, WINDOW, WINDOW, 3)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("frames", [range(12, 17), range(12, 13), range(0, 5)])
def test_a_patch_for_some_frames_is_found_in_those_and_where_it_is(frames):
    shown = windows()
    for n in frames:
        shown[n, 22:36, 12:26] = (40, 200, 90)
    cover = find_covers(shown, STILL, FACE, TIMES, ONE)
    assert cover.places.tolist() == list(frames)
    assert cover.masks[:, 22:36, 12:26].all() and cover.masks.mean() < 0.35
    assert (cover.shares > 0.05).all() and (cover.shares < 0.7).all()


def test_what_covers_half_of_the_face_is_not_taken_for_a_change_of_light():
    """Grey over the left half: a dimmed face would be as grey, and the clear half would seem covered."""
    skin = np.clip(windows().astype(float) * 0.3 + [120, 90, 70], 0, 255).astype(np.uint8)
    left, right = np.arange(WINDOW) < 25, np.arange(WINDOW) >= 30
    skin[12:15][:, :, left] = (105, 105, 112)
    cover = find_covers(skin, STILL, FACE, TIMES, ONE)
    assert cover.places.tolist() == [12, 13, 14]
    inside = np.zeros((WINDOW, WINDOW), bool)
    inside[10:42, 10:38] = True
    assert cover.masks[:, inside & left].mean() > 0.97 and not cover.masks[:, inside & right].any()
    assert (np.abs(cover.shares - 0.5) < 0.15).all()


def test_what_comes_in_is_found_before_it_covers_much():
    shown = windows()
    for n, columns in ((12, 10), (13, 17), (14, 25), (15, 25), (16, 16), (17, 10)):
        shown[n, :, :columns] = (40, 200, 90)
    cover = find_covers(shown, STILL, FACE, TIMES, ONE)
    assert cover.places.tolist() == list(range(12, 18))
    edge = (cover.shares < LEAST).tolist()
    assert edge == [True, False, False, False, False, True], "too little to doubt landmarks"
    assert cover.masks[0, 20:30, 6:10].all() and not cover.masks[0, :, 22:].any()


def test_nothing_is_found_in_noise_in_changing_light_and_in_what_stays():
    shown = windows()
    shown[:, 20:36, 10:26] = (40, 200, 90)  # a mask that is worn throughout
    dimmer = (shown * np.linspace(0.7, 1.1, COUNT)[:, None, None, None]).clip(0, 255).astype(np.uint8)
    assert not len(find_covers(dimmer, STILL, FACE, TIMES, ONE).places)


def test_an_eye_that_closes_covers_nothing():
    shown = windows()
    left, top = FACE[0, 36:42].min(0).astype(int)
    right, bottom = FACE[0, 36:42].max(0).astype(int) + 1
    shown[10:13, top:bottom, left:right] = 20
    assert not len(find_covers(shown, STILL, FACE, TIMES, ONE).places)


def test_landmarks_under_a_cover_are_taken_from_before_and_after_in_time():
    times = np.array([0.0, 0.1, 0.2, 0.5, 0.6, 0.7, 0.8, 0.9])
    points = np.repeat((10 * times)[:, None, None], 68, axis=1) * np.ones(2)
    wrong = points.copy()
    wrong[2:5] += 3.0
    found = taken_from_neighbours(wrong, np.array([2, 3, 4]), times, np.zeros(8, int))
    np.testing.assert_allclose(found, points, atol=1e-9)
    assert frames_after(np.array([2]), np.zeros(8, int)).tolist() == [3, 4], "they are doubted, too"
    assert frames_after(np.array([2]), np.array([0, 0, 1, 1, 2, 2, 2, 2])).tolist() == [3]
    alone = taken_from_neighbours(wrong, np.array([2, 3, 4]), times, np.array([0, 0, 1, 1, 1, 2, 2, 2]))
    np.testing.assert_array_equal(alone, wrong)


def test_a_mask_lies_in_the_crop_where_it_lies_in_the_frame():
    shown = windows()
    shown[12, 16:32, 16:32] = 0
    affines = STILL.copy() * 0.5  # windows at half the frame's size
    cover = find_covers(shown, affines, 2 * FACE, TIMES, ONE)
    crop = cover_in(cover, 0, np.array([[1.0, 0.0, -20.0], [0.0, 1.0, -10.0]]), 64)
    line, column = np.nonzero(crop > 0.5)
    assert abs(column.mean() + 0.5 - (48 - 20)) < 1 and abs(line.mean() + 0.5 - (48 - 10)) < 1
    assert not len(no_cover().places)
