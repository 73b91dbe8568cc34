"""Masks reach as far as an edit can be seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.request.settings import CompositeSettings
from pipeline.stages.face_masks import FaceMasks, understood
from storage import StageCache
from tests.pipeline.stored import stored


def test_a_mask_grows_where_an_edit_or_an_occluder_reaches_beyond_the_face(tmp_path: Path) -> None:
    size = 64
    ring = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    landmarks = np.stack([32 + 8 * np.cos(ring), 40 + 8 * np.sin(ring)], -1)[None].astype(np.float32)
    affine = np.array([[[1.0, 0, 0], [0, 1, 0]]])
    plain = np.full((1, size, size, 3), 100, np.uint8)
    edited = plain.copy()
    edited[0, 5:14, 20:44] = 200  # hair
    edited[0, 30, 5] = 255  # a lone bright pixel
    blend = np.zeros((1, 32, 32), np.float16)
    blend[0, 24:31, 10:31] = 0.9
    cache = StageCache(tmp_path)
    images = {name: stored(cache, name, a) for name, a in (("p", plain), ("e", edited), ("b", blend))}
    face = FaceMasks(landmarks, affine, size, CompositeSettings())[0]
    with_edit = FaceMasks(landmarks, affine, size, CompositeSettings(), None, images["e"], images["p"])[0]
    with_blend = FaceMasks(landmarks, affine, size, CompositeSettings(), images["b"])[0]
    assert face[40, 32] == with_edit[40, 32] == 255 and face[9, 32] == 0 and face[51, 32] == 0
    assert with_edit[9, 32] > 200 and with_edit[30, 5] == 0
    assert with_blend[51, 32] > 200 and with_blend[9, 32] == 0


def test_an_occluder_is_taken_off_near_the_face_only(tmp_path: Path) -> None:
    size = 64
    ring = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    landmarks = np.stack([32 + 8 * np.cos(ring), 40 + 8 * np.sin(ring)], -1)[None].astype(np.float32)
    affine = np.array([[[1.0, 0, 0], [0, 1, 0]]])
    everything = stored(StageCache(tmp_path), "everything", np.ones((1, 64, 64), np.float16))
    mask = FaceMasks(landmarks, affine, size, CompositeSettings(), everything)[0]
    assert mask[51, 32] > 200 and mask[60, 32] == 0 and mask[58, 6] == 0


def test_a_hand_that_the_fit_has_not_followed_stays_in_front(tmp_path: Path) -> None:
    size, cache = 96, StageCache(tmp_path)
    plain = np.full((1, size, size, 3), 150, np.uint8)
    rng = np.random.default_rng(0)
    source = (plain + rng.integers(-8, 9, plain.shape)).astype(np.uint8)  # noise is no hand
    source[:, 40:70, 30:60] = (70, 40, 30)
    trust = understood(source[0], plain[0])
    assert trust[45:65, 35:55].max() == 0 and trust[:30].min() == 1 and trust[:, 70:].min() == 1
    assert understood(np.full_like(plain[0], 90), plain[0]).min() == 1  # all alike: a poor fit, no hand
    landmarks = np.random.default_rng(1).uniform(30, 66, (1, 68, 2)).astype(np.float32)
    affine = np.array([[[1.0, 0, 0], [0, 1.0, 0]]])
    images = {name: stored(cache, name, array) for name, array in (("p", plain), ("s", source))}
    face = FaceMasks(landmarks, affine, size, CompositeSettings(), None, images["p"], images["p"])[0]
    kept = FaceMasks(landmarks, affine, size, CompositeSettings(), None, *(images[k] for k in "pps"))[0]
    assert face[50:60, 40:50].min() > 200 and kept[50:60, 40:50].max() == 0
    assert np.array_equal(face[:30], kept[:30])
