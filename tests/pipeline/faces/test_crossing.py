"""Two heads that cross, of two sample clips: each is edited while it is seen, and the other never."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.crossing_sheet import SIZE, composed, rect_at
from inverters.generators.card import CropRule
from pipeline.clip import FaceTrack
from pipeline.request.faces import Face
from pipeline.request.settings import CompositeSettings, DecodeSettings, TrackSettings
from pipeline.stages.align import align
from pipeline.stages.decode import decode
from pipeline.stages.face_masks import Covers, FaceMasks
from pipeline.stages.track import track
from pipeline.video.masks import with_forehead
from pipeline.video.warp import warp_back
from tests.pipeline.faces.faces_data import clip_of

CROP, COUNT, RATE = 128, 60, 15.0
"""Of the crop in pixels, of the clip in frames and frames a second."""
SEEN = 0.5
"""Share of a face from which on it counts as seen."""


def to_and_fro(t: int, count: int) -> int:
    """The frame of a clip of `count` frames that runs forwards and backwards."""
    return min(t % (2 * count), 2 * count - 1 - t % (2 * count))


class Crossing:
    """A, larger, goes to the right and B to the left while their sizes change; frames and where faces are."""

    def __init__(self, front: str, sizes: tuple[float, float]):
        files = [Path("samples") / f"{name}.truth/clean.mp4" for name in ("hand", "mask")]
        clips = [decode(file, DecodeSettings(), Path()) for file in files]
        pictures = [list(clip.frames()) for clip in clips]
        alone = [track(clip, TrackSettings(smoothing="none")).landmarks for clip in clips]
        self.front = "AB".index(front)
        self.frames, self.rects, self.landmarks = [], [], []
        for t in range(COUNT):
            share = t / (COUNT - 1)
            at = [to_and_fro(t, len(pictures[who])) for who in (0, 1)]
            rects = [rect_at(share, sizes), rect_at(1 - share, sizes)]
            order = (1 - self.front, self.front)
            self.frames.append(composed([(pictures[who][at[who]], rects[who]) for who in order]))
            self.rects.append(rects)
            self.landmarks.append(
                [alone[k][at[k]] * [rects[k][2] / 384, rects[k][3] / 288] + rects[k][:2] for k in (0, 1)]
            )

    def outline(self, t: int, who: int) -> np.ndarray:
        """The face with its forehead, [H,W]."""
        hull = cv2.convexHull(with_forehead(self.landmarks[t][who]).astype(np.int32))
        return cv2.fillConvexPoly(np.zeros(SIZE[::-1], np.uint8), hull, 1) > 0

    def seen(self, t: int, who: int) -> float:
        """Share of a face that is seen."""
        face = self.outline(t, who)
        if who == self.front:
            return 1.0
        x, y, width, height = self.rects[t][self.front]
        left = face.copy()
        left[y : y + height, x : x + width] = False
        return float(left.sum() / face.sum())


def shown(found: FaceTrack) -> dict[int, np.ndarray]:
    """By frame with a face, how much of each pixel an edit may change, [H,W]."""
    crops, usable = align(found, CropRule(), CROP), found.usable
    masks = FaceMasks(
        found.landmarks[usable], crops.affine[usable], CROP, CompositeSettings(), covers=Covers(found, crops)
    )
    return {
        int(t): warp_back(
            masks[row].astype(np.float32) / 255, crops.affine[t], (0, 0, *SIZE), padding="zeros"
        )
        for row, t in enumerate(usable)
    }


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("sizes", [(1.0, 0.75), (0.7, 0.95)])
@pytest.mark.parametrize("front", ["A", "B"])
def test_each_head_is_edited_where_it_is_seen_and_the_other_is_never_touched(front, sizes):
    crossing = Crossing(front, sizes)
    clip = clip_of(crossing.frames, RATE)
    for number in (0, 1):
        found = track(clip, TrackSettings(face=(Face(number),)))
        first = found.landmarks[found.usable[0]]
        off = [np.abs(first - points).mean() for points in crossing.landmarks[found.usable[0]]]
        who = int(np.argmin(off))
        assert who == (number if sizes[0] > sizes[1] else 1 - number), "the larger one is face 0"
        seen = np.array([crossing.seen(t, who) for t in range(COUNT)]) >= SEEN
        edited = found.status > 0
        assert (edited & seen).sum() >= 0.95 * seen.sum()
        for t, mask in shown(found).items():
            own, other = crossing.landmarks[t][who], crossing.landmarks[t][1 - who]
            assert np.linalg.norm(found.landmarks[t] - own, axis=-1).mean() < 0.05 * np.ptp(own[:, 0])
            assert np.abs(found.landmarks[t] - other).mean() > np.abs(found.landmarks[t] - own).mean()
            if who != crossing.front:
                assert mask[crossing.outline(t, 1 - who)].max() == 0
