"""Training of super-resolution alone, on features rendered once from stored pictures.

Planes and rays take most of the time of a joint step. With their features fixed a step costs far less, so
that super-resolution, which draws eyes and edges, gets more steps.
"""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn

from inverters.generators.eg3d import Generator
from inverters.heads.params import to_z
from inverters.rendering.rays import rays_at
from inverters.training.pictures import window_positions, zoomed_intrinsics

KERNEL_RATE_GAIN = 4.0
"""Learning rate of the convolutions' kernels relative to all other parameters: kernels have unit variance,
which suits the smaller rate of adversarial training.
"""

_EDGE = 6
"""Pixels at a patch's border whose convolutions see zeros in place of neighbours."""


def image_losses(image: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """Return L1 losses of super-resolved patches [n,3,H,W] and of their gradients, without the border."""
    error = (image.float() - truth)[..., _EDGE:-_EDGE, _EDGE:-_EDGE]
    slope = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return {"image": error.abs().mean() * 2, "slope": slope * 2}


@torch.no_grad()
def window_features(generator: Generator, pictures: dict[str, Tensor], row: int) -> tuple[Tensor, Tensor]:
    """Return the features [C,h,h], float16, of one stored window, and the last row of its code [w_dim]."""
    config = generator.config
    up = config.img_resolution // config.neural_rendering_resolution
    side = pictures["image"].shape[-1] // up
    ws = generator.mapping(to_z(pictures["scores"][row : row + 1], config.z_dim))
    uv = window_positions(pictures["corner"][row : row + 1] / up, side, config.neural_rendering_resolution)
    intrinsics = zoomed_intrinsics(pictures["zoom"][row : row + 1])
    rays = rays_at(pictures["cam2world"][row : row + 1], intrinsics, uv)
    planes = generator.planes(ws)
    seen = generator.render_rays(planes, *rays, generator.sampling(coarse=32, fine=24))
    return seen.features[0].T.reshape(-1, side, side).half(), ws[0, -1]


def all_features(generator: Generator, pictures: dict[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Return `window_features` of all stored windows: features and codes, one entry a window."""
    features, codes = [], []
    count = len(pictures["scores"])
    for row in range(count):
        one, w = window_features(generator, pictures, row)
        features.append(one)
        codes.append(w)
        if row % 200 == 199:
            print(f"sharpen: {row + 1}/{count} windows rendered", flush=True)
    return features, codes


def sharpen(
    generator: Generator,
    pictures: dict[str, Tensor],
    minutes: float,
    steps: int = 0,
    rate: float = 5e-3,
    batch: int = 3,
    patch: int = 28,
    seed: int = 0,
) -> None:
    """Train `generator.superresolution` in place. The learning rate falls linearly to a fiftieth.

    Args:
        generator: everything else in it is fixed.
        pictures: from `pictures.load_pictures`.
        minutes: training time, not counting the rendering of the features.
        steps: number of steps; 0 takes the minutes.
        rate: greatest learning rate of Adam; kernels take KERNEL_RATE_GAIN times as much.
        batch: patches a step.
        patch: side of a patch in pixels of the raw image.
        seed: of the random patches.
    """
    size = generator.config.neural_rendering_resolution
    features, codes = all_features(generator, pictures)
    patch = min(patch, features[0].shape[-1])
    module = generator.superresolution.requires_grad_(True)
    optimiser = _optimiser(module, rate)
    rng = torch.Generator().manual_seed(seed)
    began = last_line = time.monotonic()
    mean: dict[str, float] = {}
    step = 0
    while (share := step / steps if steps else (time.monotonic() - began) / (60 * minutes)) < 1:
        x, truth, rows = _patches(features, pictures["image"], batch, patch, rng)
        ws = torch.stack([codes[r] for r in rows])[:, None]
        for group in optimiser.param_groups:
            group["lr"] = rate * group["gain"] * min(1.0, (step + 1) / 50) * max(0.02, 1 - share)
        with torch.autocast("cpu", torch.bfloat16):
            image = module.patch(x.float(), ws, size)
        losses = image_losses(image, truth.float() / 127.5 - 1)
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        optimiser.step()
        step += 1
        mean = {k: 0.98 * mean.get(k, v.item()) + 0.02 * v.item() for k, v in losses.items()}
        if time.monotonic() - last_line > 10:
            last_line = time.monotonic()
            text = "  ".join(f"{k} {v:.4f}" for k, v in mean.items())
            print(f"sharpen: step {step}  {share:.0%}  {text}", flush=True)
    module.requires_grad_(False)


def _optimiser(module: nn.Module, rate: float) -> torch.optim.Optimizer:
    kernels = [p for p in module.parameters() if p.ndim == 4]
    others = [p for p in module.parameters() if p.ndim != 4]
    groups = [{"params": kernels, "gain": KERNEL_RATE_GAIN}, {"params": others, "gain": 1.0}]
    return torch.optim.Adam(groups, lr=rate, betas=(0.9, 0.99))


def _patches(
    features: list[Tensor], images: Tensor, batch: int, patch: int, rng: torch.Generator
) -> tuple[Tensor, Tensor, list[int]]:
    """Random patches: features [n,C,p,p], pictures [n,3,p*up,p*up], and the rows that they are cut from."""
    side = features[0].shape[-1]
    up, room = images.shape[-1] // side, side - patch
    rows = torch.randint(len(features), (batch,), generator=rng).tolist()
    corners = torch.randint(room + 1, (batch, 2), generator=rng).tolist()
    places = list(zip(rows, corners, strict=True))
    x = torch.stack([features[r][:, b : b + patch, a : a + patch] for r, (a, b) in places])
    truth = torch.stack(
        [images[r, :, b * up : (b + patch) * up, a * up : (a + patch) * up] for r, (a, b) in places]
    )
    return x, truth, rows
