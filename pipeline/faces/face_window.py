"""The face in a small level window, as the bundled face embedding takes it, and whether it is upright."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.clip import F64, U8
from pipeline.faces.crop_rule import crop_affine, fit_crop, five_points
from pipeline.video.warp import warp_crop

if TYPE_CHECKING:
    from inverters.generators.face_embedding import FaceEmbeddingNetwork

Floats = npt.NDArray[np.floating[Any]]

_CLEARLY, _LIKELY = 0.5, 0.6
"""A window counts as turned where the score of a turn is this much above that of none, and at least so
high."""
_FLAT = 6.0
"""Standard deviation in levels of 255 below which a window shows next to nothing."""


def window_affine(landmarks: Floats) -> F64:
    """Map [2,3] from pixels of a frame to the window of the face at landmarks [68,2]: eyes level, 64 x 64."""
    from inverters.generators.card import CropRule
    from inverters.generators.face_embedding import FACE_SHARE, FACE_SIZE

    five = five_points(landmarks)
    across = five[1] - five[0]
    length = max(float(np.linalg.norm(across)), 1e-6)
    cosine, sine = across / length
    turn = np.array([[cosine, sine], [-sine, cosine]])
    rule, side = CropRule(), round(FACE_SIZE / FACE_SHARE)
    level = crop_affine(fit_crop(five @ turn.T, rule), rule, side)
    level[:, 2] -= (side - FACE_SIZE) / 2
    return np.concatenate([level[:, :2] @ turn, level[:, 2:]], axis=1)


def face_window(frame: U8, landmarks: Floats) -> U8:
    """The face at landmarks [68,2] of a frame uint8 [H,W,3], upright and level: uint8 [64,64,3]."""
    from inverters.generators.face_embedding import FACE_SIZE

    affine = window_affine(landmarks)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:, :2])) < 1e-9:
        return np.zeros((FACE_SIZE, FACE_SIZE, 3), np.uint8)
    return warp_crop(frame, affine, FACE_SIZE)


@cache
def _network() -> FaceEmbeddingNetwork:
    from inverters.generators.face_embedding import read_network

    return read_network()


def turn_scores(window: U8) -> F64:
    """How much a window uint8 [64,64,3] looks like a face turned by 0, 1, 2 and 3 quarters, [4]."""
    import torch

    pixels = torch.from_numpy(np.array(window)).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        found: F64 = _network().turns(pixels)[0].double().numpy()
    return found


def upright_margin(window: U8) -> float:
    """How much more a window uint8 [64,64,3] looks like an upright face than like one that is turned.

    The mean over the window's four turns, which errs less than one look at it.
    """
    looks = np.stack([np.roll(turn_scores(np.rot90(window, turn)), -turn) for turn in range(4)])
    scores = looks.mean(axis=0)
    return float(scores[0] - scores[1:].max())


def is_upright(window: U8) -> bool:
    """Whether a window agrees with the landmarks that made it: it does not look like a turned face.

    A window that shows next to nothing speaks for no turn.
    """
    if float(window.std()) < _FLAT:
        return True
    scores = turn_scores(window)
    return bool(scores[1:].max() < max(scores[0] + _CLEARLY, _LIKELY))
