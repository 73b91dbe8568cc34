"""What is before the face for a moment: its outline in a crop, and what a removal shows behind it."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.clip import Cover, Crops, FaceTrack
from pipeline.faces.covers import WINDOW, outlined
from pipeline.request.settings import CompositeSettings
from pipeline.stages.composite import overlay_of
from pipeline.stages.face_masks import Covers, FaceMasks
from pipeline.stages.uncover import Uncovered, WithCover

SIZE, COUNT, HIDDEN = WINDOW, 5, 2
IDENTITY = np.array([[1.0, 0, 0], [0, 1.0, 0]])
BEHIND = (slice(20, 40), slice(24, 44))
"""Where the cover is in its frame."""


def landmarks_at(size: int) -> np.ndarray:
    """A ring of points with two eyes and a mouth, [68,2] in pixels of a crop."""
    turn = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    points = np.stack([0.5 + 0.35 * np.cos(turn), 0.5 + 0.35 * np.sin(turn)], -1)
    for part, (x, y, wide) in {36: (0.35, 0.4, 0.05), 42: (0.65, 0.4, 0.05), 48: (0.5, 0.72, 0.1)}.items():
        count = 12 if part == 48 else 6
        turn = np.linspace(0, 2 * np.pi, count, endpoint=False)
        points[part : part + count] = np.stack([x + wide * np.cos(turn), y + 0.03 * np.sin(turn)], -1)
    return size * points


def followed(count: int = COUNT, shot: np.ndarray | None = None) -> FaceTrack:
    """A face that stays, with something before it in one frame."""
    mask = np.zeros((1, WINDOW, WINDOW), bool)
    mask[0][BEHIND] = True
    cover = Cover(np.array([HIDDEN]), mask, IDENTITY[None], np.array([0.2]))
    landmarks = np.repeat(landmarks_at(SIZE)[None], count, 0).astype(np.float32)
    dense, status = np.full((count, 478, 2), np.nan, np.float32), np.ones(count, np.uint8)
    return FaceTrack(landmarks, dense, status, "none", shot=shot, cover=cover)


def covers_of(track: FaceTrack) -> Covers:
    return Covers(track, Crops(np.repeat(IDENTITY[None], len(track.status), 0), SIZE))


def test_an_outline_holds_the_finger_that_has_the_colour_of_the_face_and_no_mouth():
    size = 256
    rng = np.random.default_rng(0)
    face = np.full((size, size, 3), (200, 150, 130), np.uint8)
    clear = [(face + rng.integers(-3, 4, face.shape)).astype(np.uint8) for _ in range(2)]
    own = face.copy()
    own[110:200, 130:200] = (90, 60, 50)  # the back of the hand
    finger = cv2.line(np.zeros((size, size), np.uint8), (140, 142), (105, 134), 1, 12) > 0
    edge = cv2.dilate(finger.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool) & ~finger
    own[edge] = (120, 80, 70)
    own[finger] = (202, 152, 132)  # the face's own colour
    own[178:190, 108:125] = (40, 20, 20)  # the mouth opens
    cover = np.zeros((size, size), np.float32)
    cover[110:200, 130:200] = 1.0
    found = outlined(cover, own, clear, landmarks_at(size))
    assert found[finger].min() > 0.9 and found[cover > 0].min() == 1
    assert found[178:190, 108:116].max() < 0.1, "a mouth moves by itself"
    assert found[:80].max() == 0 and found[:, :80].max() == 0
    alone = own.copy()
    alone[30:60, 30:60] = 20  # does not hang together with it
    assert outlined(cover, alone, clear, landmarks_at(size))[30:60, 30:60].max() == 0
    assert outlined(cover, own, [], landmarks_at(size)) is cover
    darker = [np.rint(0.7 * one).astype(np.uint8) for one in clear]
    assert outlined(cover, own, darker, landmarks_at(size))[:, :80].max() == 0, "another light is no cover"


def removal_of(track: FaceTrack, hand: int, light: np.ndarray) -> tuple[Uncovered, np.ndarray, np.ndarray]:
    """A removal whose renders are flat, of a source with light [T] of its own and a hand before it."""
    count = len(light)
    removed = np.full((count, SIZE, SIZE, 3), 100, np.uint8)
    source = removed + light[:, None, None, None].astype(np.uint8)
    source[HIDDEN][BEHIND] = hand
    times = np.arange(count) / 25.0
    return Uncovered(removed, removed, source, covers_of(track), times), removed, source


def test_behind_a_cover_is_what_the_frames_before_and_after_show():
    light = np.array([0, 4, 9, 8, 0])
    behind, removed, source = removal_of(followed(), 220, light)
    inner = (slice(23, 37), slice(27, 41))
    assert behind[HIDDEN][inner].min() == behind[HIDDEN][inner].max() == 106, "half way from 4 to 8"
    assert np.array_equal(behind[HIDDEN][:18], removed[HIDDEN][:18])
    assert np.array_equal(behind[0], removed[0]) and np.array_equal(behind[4], removed[4])
    apart = followed(shot=np.array([0, 0, 0, 1, 1]))
    assert removal_of(apart, 220, light)[0][HIDDEN][inner].max() == 104, "only its own shot tells"
    covered = source.copy()
    covered[1::2, 15:45, 19:49] = 250  # before and after there is a mask, which the removal has taken off
    masked = Uncovered(removed, removed, covered, behind.covers, behind.times)
    assert masked[HIDDEN].max() == 100


def test_a_removal_takes_all_of_the_cover_off_though_the_fit_has_not_seen_it():
    track = followed()
    behind, removed, source = removal_of(track, 180, np.array([0, 4, 9, 8, 0]))
    covers = covers_of(track)
    landmarks, affines = track.landmarks, covers.crops.affine
    shape = CompositeSettings()
    masks = FaceMasks(landmarks, affines, SIZE, shape, blend=np.zeros((COUNT, 32, 32)), lifted=covers)
    plain = WithCover(removed, source, covers)
    overlay = overlay_of(behind[HIDDEN], masks[HIDDEN], IDENTITY, SIZE, (SIZE, SIZE), plain[HIDDEN])
    shown = overlay.over(source[HIDDEN])
    inner = (slice(23, 37), slice(27, 41))
    assert np.abs(shown[inner].astype(int) - 106).max() <= 1
    missed = overlay_of(removed[HIDDEN], masks[HIDDEN], IDENTITY, SIZE, (SIZE, SIZE), removed[HIDDEN])
    assert missed.over(source[HIDDEN])[inner].min() == 180, "the render alone changes nothing there"
