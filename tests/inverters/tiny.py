"""The smallest generator and clip on which every part of an inversion still runs."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from inverters.base import Inversion, InversionProblem
from inverters.generators.config import GeneratorConfig
from inverters.generators.eg3d import Generator
from inverters.methods.table import find_method
from inverters.rendering.cameras import default_intrinsics, look_at

CONFIG = GeneratorConfig(
    z_dim=16,
    w_dim=16,
    c_dim=0,
    mapping_features=16,
    channel_base=256,
    channel_max=8,
    plane_resolution=16,
    plane_channels=4,
    decoder_hidden=16,
    feature_channels=6,
    img_resolution=32,
    neural_rendering_resolution=16,
    superresolution="small4x",
    sr_channels=(6, 6),
    depth_resolution=8,
    depth_resolution_importance=8,
)


_SHORT = {"rays": 100, "frames_per_step": 2, "coarse": 8, "fine": 8}
_FEW = {"coarse": 8, "fine": 8}


def tiny(method: str) -> Any:
    """A method's settings: `draft` at a tenth of its cost."""
    draft: Any = find_method(method).presets["draft"]
    changes: dict[str, Any] = {
        "codes": dataclasses.replace(draft.codes, **_SHORT),
        "tune": dataclasses.replace(draft.tune, frames_per_step=1),
        "render": (8, 8),
    }
    if method == "in-n-out":
        init = dataclasses.replace(draft.joint.init, resolution=16)
        changes["joint"] = dataclasses.replace(draft.joint, **_SHORT, init=init)
    if method in ("pti", "pose-opt", "hfgi3d", "vive3d"):
        changes["tuning"] = dataclasses.replace(draft.tuning, **_FEW)
    if method == "hfgi3d":
        changes["joint"] = dataclasses.replace(draft.joint, **_FEW)
    if method == "sam":
        changes["offsets"] = dataclasses.replace(draft.offsets, **_SHORT)
        changes |= {"blocks": (4, 8, 32), "segments": 4, "trial": 3}
    if method == "vive3d":
        codes = dataclasses.replace(draft.sequence.codes, rays=100, **_FEW)
        changes |= {"frames": 2, "sequence": dataclasses.replace(draft.sequence, codes=codes)}
    return dataclasses.replace(draft, name="tiny", **changes)


def invert(
    method: str, generator: Generator, problem: InversionProblem, settings: Any = None, **options: Any
) -> Inversion:
    """Run a method, with its tiny settings if none are given."""
    chosen = tiny(method) if settings is None else settings
    return find_method(method)(generator, problem, settings=chosen, **options)


def tiny_generator(parameters: tuple[str, ...] = (), **changes: Any) -> Generator:
    """Random weights from a fixed seed; the densities are made firm, so that there is a surface to see."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        generator = Generator(dataclasses.replace(CONFIG, **changes)).eval().requires_grad_(False)
    generator.decoder.net[2].weight[0] *= 20
    generator.decoder.net[2].bias[0] = 5
    generator.decoder.net[2].weight[1:] *= 4  # strong colours, so that a wrong face shows
    for block in (generator.superresolution.block0, generator.superresolution.block1):
        block.torgb.weight *= 0.05  # near the raw picture, as a trained one is
    w = generator.mapping(
        torch.randn(500, generator.config.z_dim, generator=torch.Generator().manual_seed(0))
    )[:, 0]
    generator.card = dataclasses.replace(
        generator.card, w_avg=w.mean(0), w_std=w.std(0), parameters=parameters, fingerprint="tiny"
    )
    return generator


def cameras(frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A head that turns by half a radian over the clip."""
    return look_at(torch.linspace(-0.25, 0.25, frames), torch.zeros(frames)), default_intrinsics(frames)


def own_clip(
    generator: Generator, frames: int = 4, occluder: bool = False, seed: int = 5
) -> InversionProblem:
    """A clip of a face that the generator knows; with `occluder`, a flat green square hides part of every
    frame."""
    cam2world, intrinsics = cameras(frames)
    z = torch.randn(1, generator.config.z_dim, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        images = generator.synthesis(generator.mapping(z), cam2world, intrinsics).image
    pixels = ((images.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    masks = np.full(pixels.shape[:3], 255, np.uint8)
    if occluder:
        size = pixels.shape[1]
        hidden = slice(size // 2, size - size // 8), slice(size // 4, size - size // 4)
        pixels[:, *hidden] = (10, 240, 10)
        masks[:, *hidden] = 0
    return InversionProblem(
        crops=pixels,
        frames=np.arange(frames) * 2 + 1,
        cam2world=cam2world,
        intrinsics=intrinsics,
        occluder_masks=masks if occluder else None,
    )
