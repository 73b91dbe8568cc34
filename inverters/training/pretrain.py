"""Pretraining of the mapping network: make small frontal pictures and depth linear in w.

A person's colours are strongly non-linear functions of the parameters. Learning them through the whole
generator takes hours, through the mapping alone minutes. The synthesis then reads them from w by its affine
layers.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inverters.generators.eg3d import Generator
from inverters.rendering.cameras import angles
from inverters.training.people_pictures import to_z
from inverters.training.stored_set import StoredPeople

SMALL = 24
"""Side of the small pictures."""

_CHECK_EVERY = 100
_BLUR = 0.3
"""Standard deviation of what is added to the scores in a step: with a thousand people the mapping would
otherwise learn each of them by heart.
"""

_MOST_PEOPLE = 20_000
_DEPTH_SPREAD = 0.05
"""Deviation of depth, in world units, that counts as much as the full range of a colour."""


def small_pictures(stored: StoredPeople, size: int = SMALL) -> tuple[Tensor, Tensor, Tensor]:
    """Return what near frontal views show: scores [N,P], colours and depth [N,4*size*size], cameras [N,3]."""
    names = ("scores", "image", "depth", "cam2world", "zoom")
    scores, flat, terms = [], [], []
    for person in range(min(len(stored), _MOST_PEOPLE)):
        view = stored.read([person], [[0]], names)
        image = F.interpolate(view["image"][0].float() / 127.5 - 1, size=(size, size), mode="area")
        depth = F.interpolate(view["depth"].clamp_max(3.3), size=(size, size), mode="area")
        depth = (depth - 2.7).clamp(-0.5, 0.5) * (0.25 / _DEPTH_SPREAD)
        flat.append(torch.cat([image.flatten(), depth.flatten()]))
        yaw, pitch = angles(view["cam2world"][0])
        terms.append(torch.cat([yaw * 5, pitch * 5, (view["zoom"][0] - 0.95) * 5]))
        scores.append(view["scores"][0])
    return torch.stack(scores), torch.stack(flat), torch.stack(terms)


def pretrain_mapping(
    generator: Generator, stored: StoredPeople, steps: int = 2500, batch: int = 256, seed: int = 5
) -> float:
    """Fit the mapping, and a linear readout of w and the camera, to small frontal pictures and depth.

    Args:
        generator: its mapping is trained in place; the best state on people held out of the fit is kept.
        stored: the people.
        steps: most steps of Adam.
        batch: people a step.
        seed: of batches.

    Returns:
        Share of the variance that the readout leaves unexplained, on a tenth of the people, held out.
    """
    mapping = generator.backbone.mapping
    device = mapping.w_avg.device
    rng = torch.Generator().manual_seed(seed)
    scores, truth, terms = (t.to(device) for t in small_pictures(stored))
    keep = max(1, len(scores) * 9 // 10)
    truth = truth - truth[:keep].mean(0)
    readout = nn.Linear(generator.config.w_dim + terms.shape[1], truth.shape[1]).to(device)
    groups = [{"params": mapping.parameters(), "gain": 10.0}, {"params": readout.parameters(), "gain": 1.0}]
    optimiser = torch.optim.Adam(groups, lr=1e-3, betas=(0.9, 0.99))

    def error(rows: Tensor | slice, blur: float = 0.0) -> tuple[Tensor, Tensor]:
        own = scores[rows]
        own = own + blur * torch.randn(own.shape, generator=rng).to(device)
        ws = generator.mapping(to_z(own, generator.config.z_dim))[:, 0]
        left = (readout(torch.cat([ws, terms[rows]], 1)) - truth[rows]).square().mean() / truth.var()
        return left, (ws.square().mean() - 1).square()

    least, best = float("inf"), copy.deepcopy(mapping.state_dict())
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 1.5e-3 * group["gain"] * min(1.0, (step + 1) / 50) * (1 - step / steps)
        left, size = error(torch.randint(keep, (batch,), generator=rng).to(device), _BLUR)
        optimiser.zero_grad()
        (left + 0.1 * size).backward()
        optimiser.step()
        if step % _CHECK_EVERY == _CHECK_EVERY - 1 or step == steps - 1:
            with torch.no_grad():
                now = error(slice(keep, None) if keep < len(scores) else slice(None))[0].item()
            if now < least:
                least, best = now, copy.deepcopy(mapping.state_dict())
            if (step + 1) % (5 * _CHECK_EVERY) == 0:
                print(f"mapping: step {step + 1}/{steps}, {now:.1%} of the variance unexplained", flush=True)
    mapping.load_state_dict(best)
    return least
