"""The square of the face, which a fit also sees as the judge does."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from inverters.base import InversionProblem
from inverters.fitting.code_losses import FACE_WINDOW, CodeLosses, face_patch
from inverters.fitting.codes import CodeFit
from inverters.fitting.targets import Targets
from inverters.generators.feature_loss import FeatureLoss
from inverters.generators.judge import JUDGE_PATH
from tests.inverters.tiny import invert, own_clip, tiny, tiny_generator

SIZE = 32


def sharper(**changes: object) -> object:
    found = tiny("w+")
    codes = dataclasses.replace(found.codes, patch=24, rays=60, **changes)
    return dataclasses.replace(found, codes=codes)


def test_a_fit_with_features_comes_nearer_in_them() -> None:
    generator = tiny_generator(neural_rendering_resolution=SIZE, img_resolution=2 * SIZE)
    clip = own_clip(generator, 2)
    targets = Targets(clip, SIZE, torch.device("cpu"))
    judge = FeatureLoss(JUDGE_PATH, torch.device("cpu"))

    def distance(weight: float) -> float:
        found = invert("w+", generator, clip, sharper(lambda_features=weight), steps=60)
        seen = generator.synthesis(found.ws, clip.cam2world, clip.intrinsics, noise="none").image_raw
        return float(judge(seen[..., 4:28, 4:28], targets.raw(torch.arange(2))[..., 4:28, 4:28]))

    assert distance(1.0) < 0.9 * distance(1e-6)


def test_squares_lie_in_the_face_window_and_come_last() -> None:
    generator = tiny_generator(neural_rendering_resolution=SIZE, img_resolution=2 * SIZE)
    settings = sharper(lambda_features=1.0).codes
    fit = CodeFit(generator, Targets(own_clip(generator, 2), SIZE, torch.device("cpu")), settings, 10, 0)
    side, edge = face_patch(settings, SIZE), (1 - FACE_WINDOW) / 2 * SIZE
    assert side == 24 and face_patch(dataclasses.replace(settings, patch=1000), SIZE) == 24
    for _ in range(5):
        square = fit._pixels(torch.arange(2))[:, -side * side :]
        rows, columns = square // SIZE, square % SIZE
        assert rows.min() >= edge and columns.min() >= edge
        assert rows.max() < SIZE - edge and columns.max() < SIZE - edge
        assert torch.equal(square[0].reshape(side, side).diff(dim=0), torch.full((side - 1, side), SIZE))


def test_what_is_masked_has_no_part_in_the_features() -> None:
    generator = tiny_generator(neural_rendering_resolution=SIZE, img_resolution=2 * SIZE)
    clip = own_clip(generator, 2)
    masks = np.full((2, 2 * SIZE, 2 * SIZE), 255, np.uint8)
    masks[:, SIZE:] = 0
    crops = np.asarray(clip.crops[np.arange(2)]).copy()
    painted = crops.copy()
    painted[:, SIZE:] = 255 - painted[:, SIZE:]

    def features(of: np.ndarray) -> float:
        problem: InversionProblem = dataclasses.replace(clip, crops=of, occluder_masks=masks)
        settings = sharper(lambda_features=1.0).codes
        fit = CodeFit(generator, Targets(problem, SIZE, torch.device("cpu")), settings, 10, 0)
        return float(fit.step(0)["features"])

    assert features(crops) == features(painted)


def test_without_a_weight_there_is_no_judge() -> None:
    generator = tiny_generator()
    targets = Targets(own_clip(generator, 1), 16, torch.device("cpu"))
    settings = dataclasses.replace(tiny("w+").codes, patch=0, lambda_features=0.0)
    assert CodeLosses(generator, targets, settings, 1, None).features is None
