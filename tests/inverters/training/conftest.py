"""A tiny stored set, tiny generators and a first stage, on which training takes seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from torch import Tensor

from inverters.encoders.encoder_file import EncoderCard, save_encoder
from inverters.encoders.table import kind_of
from inverters.generators.config import GeneratorConfig
from inverters.generators.eg3d import Generator
from inverters.people.labels import BACKDROP, EYE, SKIN
from inverters.rendering.cameras import look_at
from inverters.rendering.rays import make_rays
from inverters.training.encoder_settings import EncoderSettings
from inverters.training.people_pictures import NUM_PARAMETERS, random_views
from inverters.training.stored_set import write_part, zoomed_intrinsics
from inverters.training.train_offsets import OffsetTrainer
from tests.inverters.tiny import tiny_generator

TINY = GeneratorConfig(
    z_dim=192,
    w_dim=32,
    c_dim=0,
    mapping_features=32,
    channel_base=256,
    channel_max=16,
    plane_resolution=16,
    plane_channels=8,
    plane_axes="fixed",
    img_resolution=64,
    neural_rendering_resolution=16,
    feature_channels=8,
    decoder_hidden=16,
    superresolution="small4x",
    sr_channels=(8, 8),
)

RADIUS = 0.3
"""Of the balls that stand for people here."""

EYE_CENTRE = (0.0, 0.05, 0.25)


def balls(count: int, seed: int, size: int = 64, maps: int = 32, turned: bool = True) -> dict[str, Tensor]:
    """A part of balls before a wall at z = -0.4: red as the first score says, with one dark eye.

    Unless `turned` all cameras are the frontal one.
    """
    rng = torch.Generator().manual_seed(seed)
    cameras, zoom = random_views(count, rng, 4)
    scores = torch.randn(count, NUM_PARAMETERS, generator=rng)
    if not turned:
        cameras, zoom = look_at(0.0, 0.0).expand(cameras.shape).clone(), torch.ones_like(zoom)
    flat, lens = cameras.flatten(0, 1), zoomed_intrinsics(zoom.flatten())
    tint = torch.sigmoid(scores[:, 0]).repeat_interleave(cameras.shape[1])

    def seen(side: int) -> tuple[Tensor, Tensor, Tensor]:
        origins, directions = make_rays(flat, lens, (side, side))
        middle = -(origins * directions).sum(-1)
        below = RADIUS**2 - (origins + middle[..., None] * directions).square().sum(-1)
        wall = (-0.4 - origins[..., 2]) / directions[..., 2]
        depth = torch.where(below > 0, middle - below.clamp_min(0).sqrt(), wall)
        points = origins + depth[..., None] * directions
        eye = (points - torch.tensor(EYE_CENTRE)).norm(dim=-1) < 0.1
        label = torch.where(below > 0, torch.where(eye, EYE, SKIN), BACKDROP).byte()
        colour = torch.stack([tint[:, None].expand_as(depth), (label == SKIN).float(), 0.2 + 0 * depth], 1)
        square = (count, cameras.shape[1], side, side)
        image = (colour * (label != EYE)[:, None] * 255).byte().unflatten(2, (side, side))
        return image.unflatten(0, square[:2]), depth.reshape(square), label.reshape(square)

    (image, _, shown), (_, depth, label) = seen(size), seen(maps)
    tensors = {"scores": scores, "image": image, "depth": depth.half(), "label": label}
    tensors["backdrop"] = (shown == BACKDROP).byte() * 255
    return tensors | {"cam2world": cameras, "zoom": zoom}


@pytest.fixture(scope="session")
def ball_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a stored set: 2 people held out, 6 others in two parts."""
    folder = tmp_path_factory.mktemp("people")
    for number, count in enumerate((2, 3, 3)):
        write_part(folder, number, lambda n=number, c=count: balls(c, n))
    return folder


# Trainers of second stages

QUICK = EncoderSettings(minutes=1e-6, batch=2, samples=4, nice=0, learning_rate=3e-3, precision="float32")
T = TypeVar("T", bound=OffsetTrainer)


@pytest.fixture(scope="module")
def generator() -> Generator:
    return tiny_generator()


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, generator: Generator) -> Path:
    """An e4e-mask for the tiny generator, with random weights."""
    torch.manual_seed(0)
    kind = kind_of("e4e-mask")
    config, path = kind.small(generator.config), tmp_path_factory.mktemp("first") / "first.safetensors"
    save_encoder(path, kind.build(config), EncoderCard("e4e-mask", config, generator.card.name, "tiny"))
    return path


def quick_trainer(
    kind: Callable[..., T],
    name: str,
    generator: Generator,
    folder: Path,
    start: Path | None,
    **changes: object,
) -> T:
    """A trainer of the encoder `name` for one step, with few samples a ray."""
    settings = replace(QUICK, **changes)  # type: ignore[arg-type]
    made = kind(name, generator, folder, settings, start=start)
    made.sampling = generator.sampling(6, 6)
    return made
