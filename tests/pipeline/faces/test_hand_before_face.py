"""A hand before a face for five frames: the face is edited on, the hand is not, landmarks come back."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from inverters.generators.card import CropRule
from pipeline.request.settings import CompositeSettings, DecodeSettings, TrackSettings
from pipeline.stages.align import align
from pipeline.stages.decode import decode
from pipeline.stages.face_masks import Covers, FaceMasks
from pipeline.stages.track import track
from pipeline.video.pictures import read_picture
from pipeline.video.warp import warp_back
from tests.pipeline.faces.faces_data import clip_of

SAMPLES = Path("samples")
HIDDEN = range(12, 17)
DOWN, CROP = 20, 128
"""Pixels by which the hand is moved down; side of the crop."""


def frames_of(path: Path) -> list[np.ndarray]:
    return list(decode(path, DecodeSettings(), Path()).frames())


def the_hand() -> tuple[np.ndarray, np.ndarray]:
    """The hand of the sample where it is largest, and its alpha [H,W,1] in [0,1]."""
    files = sorted((SAMPLES / "hand.truth/alpha").glob("*.png"))
    alphas = [read_picture(file).rgb8[..., 0] / 255.0 for file in files]
    largest = int(np.argmax([alpha.sum() for alpha in alphas]))
    down = np.float32([[1, 0, 0], [0, 1, DOWN]])
    size = alphas[0].shape[::-1]
    alpha = cv2.warpAffine(alphas[largest], down, size)[..., None]
    return cv2.warpAffine(frames_of(SAMPLES / "hand.mp4")[largest], down, size), alpha


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hand_for_five_frames_is_not_edited_and_the_face_is():
    plain = frames_of(SAMPLES / "mask.truth/clean.mp4")
    hand, alpha = the_hand()
    covered = [
        np.rint(f + alpha * (hand - f.astype(float))).astype(np.uint8) if n in HIDDEN else f
        for n, f in enumerate(plain)
    ]
    true, found = (track(clip_of(f, 15.0), TrackSettings(smoothing="none")) for f in (plain, covered))
    assert (found.status > 0).all()
    jaw = np.linalg.norm(found.landmarks[:, 4:13] - true.landmarks[:, 4:13], axis=-1).mean(axis=1)
    jaw /= np.median(np.ptp(true.landmarks[..., 1], axis=1))
    assert jaw[list(HIDDEN)].mean() < 0.02, "it is not seen: what it does meanwhile is not followed"
    assert np.delete(jaw, HIDDEN).max() < 0.02
    crops = align(found, CropRule(), CROP)
    masks = FaceMasks(found.landmarks, crops.affine, CROP, CompositeSettings(), covers=Covers(found, crops))
    size = (0, 0, plain[0].shape[1], plain[0].shape[0])
    for n in HIDDEN:
        shown = warp_back(masks[n].astype(np.float32) / 255, crops.affine[n], size, padding="zeros")
        assert shown[alpha[..., 0] > 0.02].max() == 0, "an edit does not reach the hand"
        assert (shown > 0.5).sum() > 2000, "and it stays on what is seen of the face"
