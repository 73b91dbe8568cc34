"""People that no generator was trained on, and their pictures: true ones, and a generator's."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from inverters.generators.eg3d import Generator
from inverters.people.params import PARAMETERS, index, sample_scores, to_z
from inverters.people.person import Person, make_person
from inverters.people.picture import Picture, draw
from inverters.rendering.cameras import default_intrinsics, look_at
from pipeline.clip import U8

YAWS = (0.0, 0.3, -0.3, 0.5, -0.5)
"""Turns of the cameras in radians."""
SIZE = 256
REST = {
    **{"smile": 0.0, "mouth_open": 0.2, "blink": 0.2, "gaze_x": 0.0, "gaze_y": 0.0, "brows": 0.0},
    **{"frown": 0.2, "surprise": 0.2, "pucker": 0.2, "squint": 0.2},
}
"""Values of a face without an expression."""
_SEED = 3_900_000_000


def unseen(count: int, seed: int) -> Tensor:
    """Scores [count,P] of people from seeds that training does not use; fewer are the first of more."""
    rng = torch.Generator().manual_seed((_SEED + seed) % 2**32)
    return torch.cat([sample_scores(1, rng) for _ in range(count)])


def with_values(scores: Tensor, **values: float | Tensor) -> Tensor:
    """Return scores [N,P] with some parameters at values, a number or [N] each.

    Raises:
        KeyError: an unknown name.
        ValueError: a value outside its range.
    """
    scores = scores.clone()
    for name, value in values.items():
        p = PARAMETERS[index(name)]
        unit = (torch.as_tensor(value, dtype=scores.dtype) - p.low) / (p.high - p.low)
        if not bool(((unit >= 0) & (unit <= 1)).all()):
            raise ValueError(f"{name} goes from {p.low:g} to {p.high:g}, not {value}")
        # A range's end would be infinitely far; a thousandth short of it nobody sees.
        scores[:, index(name)] = math.sqrt(2.0) * torch.erfinv((2 * unit - 1).clamp(-0.998, 0.998))
    return scores


def camera(yaw: float) -> Tensor:
    """Return the camera [4,4] at this turn, level with the face."""
    return look_at(torch.tensor([yaw]), torch.zeros(1))[0]


@lru_cache(maxsize=4)
def _person(key: bytes) -> Person:
    return make_person(torch.from_numpy(np.frombuffer(key, np.float32).copy()))


def person(scores: Tensor) -> Person:
    """Return the person with these scores [P]; the last few are kept."""
    return _person(scores.float().contiguous().numpy().tobytes())


@torch.no_grad()
def true_picture(scores: Tensor, yaw: float, size: int = SIZE) -> Picture:
    """The true picture of the person with these scores [P]."""
    return draw(person(scores), camera(yaw), default_intrinsics(1)[0], (size, size))


@torch.no_grad()
def generated(generator: Generator, scores: Tensor, yaw: float) -> Tensor:
    """The generator's picture [3,S,S] in [-1,1] of the person with these scores [P]."""
    ws = generator.mapping(to_z(scores[None], generator.config.z_dim))
    return synthesised(generator, ws, yaw)


@torch.no_grad()
def synthesised(generator: Generator, ws: Tensor, yaw: float) -> Tensor:
    """The generator's picture [3,S,S] in [-1,1] of codes [1,L,D]."""
    seen = generator.synthesis(ws, camera(yaw)[None], default_intrinsics(1))
    return seen.image[0].clamp(-1, 1)


@torch.no_grad()
def rendered(generator: Generator, ws: Tensor, yaw: float, size: int) -> Tensor:
    """The raw picture [3,size,size] of codes [1,L,D], before super-resolution."""
    pose = camera(yaw)[None], default_intrinsics(1)
    return generator.render(generator.planes(ws), *pose, size).features[0, :3]


def pixels(image: Tensor) -> U8:
    """An image [3,H,W] in [-1,1] as uint8 [H,W,3]."""
    levels = ((image.clamp(-1, 1) + 1) * 127.5).round().byte()
    return levels.permute(1, 2, 0).contiguous().numpy()
