"""Training of the judge of edits on stored renders of procedural heads (`invid train-judge`)."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from inverters.generators.judge import JUDGE_PATH, JUDGE_SIZE, JudgeNetwork
from inverters.heads.field import radiance
from inverters.heads.params import NUM_PARAMETERS, PARAMETERS, sample_scores, to_values
from inverters.rendering.cameras import default_intrinsics
from inverters.rendering.rays import make_rays
from inverters.training.supervision import random_cameras, visible_depth

MARGIN = 8
"""Additional pixels on every side, so that jittered framing never shows a border."""


@torch.no_grad()
def make_set(folder: Path, count: int, seed: int, batch: int = 4, part: int = 500) -> None:
    """Render `count` heads from random cameras into `folder`, `part` a file; files that exist are kept.

    Each file holds uint8 images [part,3,S,S] with MARGIN on every side, and scores [part,P].
    """
    folder.mkdir(parents=True, exist_ok=True)
    size = JUDGE_SIZE + 2 * MARGIN
    intrinsics = default_intrinsics(batch)
    intrinsics[:, :2, :2] *= JUDGE_SIZE / size
    for first in range(0, count, part):
        path = folder / f"heads-{first:06d}.safetensors"
        if path.exists():
            continue
        images, scores = [], []
        for k in range(first, first + part, batch):
            rng = torch.Generator().manual_seed(3_000_000_000 + seed * 1_000_000 + k)
            s = sample_scores(batch, rng)
            values = to_values(s)
            origins, directions = make_rays(random_cameras(batch, rng), intrinsics, (size, size))
            depth = visible_depth(values, origins, directions)
            colour = radiance(values, origins + directions * depth.unsqueeze(-1))
            images.append((colour.mT.reshape(batch, 3, size, size) * 255).round().byte())
            scores.append(s)
        draft = path.with_suffix(".part")
        save_file({"images": torch.cat(images).contiguous(), "scores": torch.cat(scores).contiguous()}, draft)
        draft.rename(path)
        print(f"{first + part}/{count} heads", flush=True)


def load_set(folder: Path) -> dict[str, Tensor]:
    """Read all heads that `make_set` has written to `folder`."""
    parts = [load_file(path) for path in sorted(folder.glob("heads-*.safetensors"))]
    return {name: torch.cat([part[name] for part in parts]) for name in ("images", "scores")}


def jitter(images: Tensor, rng: torch.Generator) -> Tensor:
    """Augment uint8 images [N,3,S,S] by random framing, gain, blur and noise; [N,3,64,64] in about [-1,1].

    Shift up to 5 pixels, scale up to 6 %, roll up to 3 degrees.
    """
    n, size = len(images), images.shape[-1]
    shift = (torch.rand(n, 2, generator=rng) * 2 - 1) * 5 * 2 / size
    zoom = JUDGE_SIZE / size * (1 + (torch.rand(n, generator=rng) * 2 - 1) * 0.06)
    roll = (torch.rand(n, generator=rng) * 2 - 1) * 0.05
    rows = torch.stack(
        [torch.stack([zoom, -roll * zoom, shift[:, 0]], 1), torch.stack([roll * zoom, zoom, shift[:, 1]], 1)],
        1,
    )
    grid = F.affine_grid(rows, [n, 3, JUDGE_SIZE, JUDGE_SIZE], align_corners=False)
    out = F.grid_sample(images.float() / 127.5 - 1, grid, align_corners=False)
    soft = F.avg_pool2d(F.pad(out, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    blur = torch.rand(n, 1, 1, 1, generator=rng) ** 2
    gain = 1 + (torch.rand(n, 3, 1, 1, generator=rng) * 2 - 1) * 0.06
    out = ((out + (soft - out) * blur + 1) * gain - 1).clamp(-1, 1)
    return out + 0.02 * torch.randn(out.shape, generator=rng)


def train(
    data: dict[str, Tensor], steps: int, seed: int, start: Path | None = None, batch: int = 48
) -> tuple[JudgeNetwork, dict[str, float]]:
    """Train the judge to regress the scores (Huber loss), from the weights at `start` if given.

    Returns:
        The network, and the correlation of its readings with the truth by parameter, on the last 5 % of the
        set, which are held out.
    """
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    network = JudgeNetwork().to(memory_format=torch.channels_last)
    if start is not None:
        network.load_state_dict({k: v.float() for k, v in load_file(start).items()})
    images, scores = data["images"], data["scores"]
    keep = len(images) * 19 // 20
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.01)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1.0, (step + 1) / 50) * min(1.0, 1.6 * (1 - step / steps))
        rows = torch.randint(keep, (batch,), generator=rng)
        picture = jitter(images[rows], rng).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            guess = network(picture)
        loss = F.smooth_l1_loss(guess.float(), scores[rows], beta=0.5)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 100 == 99:
            print(f"step {step + 1}/{steps}  loss {loss.item():.4f}", flush=True)
    network.eval()
    with torch.no_grad():
        guess = torch.cat([network(jitter(chunk, rng)) for chunk in images[keep:].split(128)])
    truth = scores[keep:]
    pairs = {
        p.name: torch.corrcoef(torch.stack([guess[:, k], truth[:, k]]))[0, 1].item()
        for k, p in enumerate(PARAMETERS)
    }
    return network, pairs


def make_judge(
    folder: Path, count: int, steps: int, seed: int, start: Path | None = None, out: Path | None = None
) -> dict[str, float]:
    """Render the set where it is missing, train the judge, write its weights and card.

    Args:
        folder: folder of the set.
        count: number of heads.
        steps: steps of training.
        seed: of heads and training.
        start: weights to begin from; None begins from random ones.
        out: where to write; None replaces the bundled judge.

    Returns:
        The correlation of its readings with the truth on held-out heads, by parameter.
    """
    out = out or JUDGE_PATH
    make_set(folder, count, seed)
    network, correlation = train(load_set(folder), steps, seed, start)
    save_file({k: v.half().contiguous() for k, v in network.state_dict().items()}, out)
    card = {
        "parameters": NUM_PARAMETERS,
        "heads": count,
        "steps": steps,
        "start": None if start is None else start.name,
        "correlation": correlation,
    }
    out.with_suffix(".json").write_text(json.dumps(card, indent=1) + "\n")
    return correlation
