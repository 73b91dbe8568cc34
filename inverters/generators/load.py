"""Loading of generators: the bundled one, an official snapshot, or our own file form."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from inverters.errors import CheckpointError
from inverters.generators.card import GeneratorCard
from inverters.generators.checkpoint import fingerprint, load_checkpoint
from inverters.generators.config import GeneratorConfig, PlaneAxes
from inverters.generators.eg3d import Generator
from inverters.generators.official import read_official
from inverters.generators.strict_loading import check_layout

BUNDLED = Path(__file__).with_name("bundled.safetensors")
_SAMPLES_FOR_SPREAD = 1000


def load_generator(
    source: str | Path, device: torch.device | str = "cpu", plane_axes: PlaneAxes | None = None
) -> Generator:
    """Return a generator with its `card`: float32, eval mode, no gradients for its weights.

    Args:
        source: "bundled", or the path of an official EG3D snapshot (.pkl) or of our own form (.safetensors,
            with the card beside it).
        device: where its weights are put.
        plane_axes: projection of the planes; None takes the card's, and `original` for snapshots, which do
            not store it.

    Raises:
        CheckpointError: the file is missing, truncated, unsafe or not a generator, or the card does not
            belong to it.
    """
    if plane_axes not in (None, "original", "fixed"):
        raise CheckpointError(f"plane axes '{plane_axes}' do not exist; known: original, fixed")
    path = BUNDLED if str(source) == "bundled" else Path(source)
    if not path.is_file():
        if path is BUNDLED:
            raise CheckpointError(
                "the bundled generator is not part of this installation; name a .pkl or .safetensors file"
            )
        raise CheckpointError(f"there is no generator at '{path}'")
    if path.suffix == ".pkl":
        return _from_snapshot(path, device, plane_axes or "original")
    if path.suffix != ".safetensors":
        raise CheckpointError(f"'{path}' is not a generator: a name ending in .pkl or .safetensors is needed")
    card, weights = load_checkpoint(path)
    if plane_axes is not None:
        card = dataclasses.replace(card, config=dataclasses.replace(card.config, plane_axes=plane_axes))
    generator = _filled(path, card.config, weights)
    generator.card = dataclasses.replace(card, path=path)
    return generator.to(device)


def _from_snapshot(path: Path, device: torch.device | str, plane_axes: PlaneAxes) -> Generator:
    config, tensors = read_official(path, plane_axes)
    generator = _filled(path, config, tensors)
    _, spread = w_statistics(generator)
    generator.card = dataclasses.replace(
        GeneratorCard.default(config, path.stem),
        w_avg=tensors["backbone.mapping.w_avg"].float().clone(),
        w_std=spread,
        fingerprint=fingerprint(tensors),
        licence="that of the snapshot's authors; EG3D's own are for research and evaluation only",
    )
    return generator.to(device)


def _filled(path: Path, config: GeneratorConfig, tensors: Mapping[str, Tensor]) -> Generator:
    """A generator of this configuration with these weights, which must fit exactly."""
    with torch.device("meta"):  # shapes alone: what a card asks for may be larger than the memory
        expected = Generator(config).state_dict()
    check_layout(f"'{path}'", expected, tensors)
    with torch.random.fork_rng(devices=[]):  # the random initial weights are replaced
        generator = Generator(config)
    generator.load_state_dict(tensors)  # copied, so that the generator keeps its memory layouts
    generator.card = GeneratorCard.default(config)
    return generator.requires_grad_(False).eval()


@torch.no_grad()
def w_statistics(generator: Generator, z: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation [w_dim] of w over z [n,z_dim], with the frontal label.

    By default over 1,000 normal z drawn with seed 0; generators whose z has a meaning pass their own.
    """
    if z is None:
        rng = torch.Generator().manual_seed(0)
        z = torch.randn(_SAMPLES_FOR_SPREAD, generator.config.z_dim, generator=rng)
    w = generator.mapping(z.to(generator.backbone.mapping.w_avg.device))[:, 0].cpu()
    return w.mean(dim=0), w.std(dim=0, correction=0)
