"""Training of the judge of edits on stored people (`invid train-judge`)."""

from __future__ import annotations

import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from inverters.generators.judge import JUDGE_PATH, JUDGE_SIZE, JudgeNetwork
from inverters.training.machine import pick_device
from inverters.training.people_pictures import NUM_PARAMETERS, PARAMETERS, open_set
from inverters.training.stored_set import StoredPeople, framing

HELD_OUT_EVERY = 20
"""Every so many people of the set are held out, beside the part that always is."""

_BATCH, _CPU_BATCH = 256, 48
_RATE = 2e-3

_WEIGHTS = {"expression": 3.0, "hair": 2.0, "accessories": 2.0, "shape": 0.3}
"""Weight in the loss of the parameters of a group, 1 for the others: those that are edited count most."""
_REFRESH_EVERY = 50


def jitter(images: Tensor, zoom: Tensor, rng: torch.Generator) -> Tensor:
    """Augment uint8 images [N,3,S,S] by random framing, gain, blur and noise; [N,3,128,128] in about [-1,1].

    Pictures of focal length `zoom` [N] times EG3D's are brought to EG3D's, then shifted by up to 4 % of their
    side, scaled by up to 6 % and rolled by up to 3 degrees. `rng` is on the device of the images.
    """
    n, device = len(images), images.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=rng, device=device) * 2 - 1

    shift = uniform(n, 2) * 0.08
    scale = zoom * (1 + uniform(n) * 0.06)
    roll = uniform(n) * 0.05
    grid = F.affine_grid(
        framing(scale, roll, shift), [n, 3, 2 * JUDGE_SIZE, 2 * JUDGE_SIZE], align_corners=False
    )
    fine = F.grid_sample(images.float() / 127.5 - 1, grid, padding_mode="border", align_corners=False)
    out = F.avg_pool2d(fine, 2)
    soft = F.avg_pool2d(F.pad(out, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
    blur = torch.rand(n, 1, 1, 1, generator=rng, device=device) ** 3
    gain = 1 + uniform(n, 3, 1, 1) * 0.06
    out = ((out + (soft - out) * blur + 1) * gain - 1).clamp(-1, 1)
    return out + 0.02 * torch.randn(out.shape, generator=rng, device=device)


def _read(stored: StoredPeople, people: list[int], views: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Images [n,3,S,S], zooms [n] and scores [n,P] of one view of each of these people."""
    found = stored.read(people, [[v] for v in views], ("image", "zoom", "scores"))
    return found["image"][:, 0], found["zoom"][:, 0], found["scores"]


def _learned(number: Tensor) -> Tensor:
    """Place in the set of the people that are not held out, by their number among these."""
    return number + number // (HELD_OUT_EVERY - 1) + 1


def correlations(network: JudgeNetwork, stored: StoredPeople, people: list[int]) -> dict[str, float]:
    """Return the correlation of readings with the truth by parameter, over two views of these people."""
    device = next(network.parameters()).device
    rng = torch.Generator(device).manual_seed(0)
    guesses, truths = [], []
    for view in (0, 1):
        for start in range(0, len(people), 32):
            some = people[start : start + 32]
            images, zoom, scores = _read(stored, some, [view] * len(some))
            with torch.no_grad():
                guesses.append(network(jitter(images.to(device), zoom.to(device), rng)).float().cpu())
            truths.append(scores)
    guess, truth = torch.cat(guesses), torch.cat(truths)
    return {
        p.name: round(torch.corrcoef(torch.stack([guess[:, k], truth[:, k]]))[0, 1].item(), 4)
        for k, p in enumerate(PARAMETERS)
    }


def train(
    stored: StoredPeople,
    minutes: float,
    seed: int = 0,
    device: str = "auto",
    start: Path | None = None,
    batch: int = 0,
) -> tuple[JudgeNetwork, dict[str, float], int]:
    """Train the judge to regress the scores (Huber loss), from the weights at `start` if given.

    Returns:
        The network on the CPU, the correlation of its readings with the truth by parameter on people held
        out, and the number of steps.
    """
    place = pick_device(device)
    torch.manual_seed(seed)
    draws, rng = torch.Generator().manual_seed(seed), torch.Generator(place).manual_seed(seed)
    network = JudgeNetwork().to(place).to(memory_format=torch.channels_last)
    if start is not None:
        network.load_state_dict({k: v.float() for k, v in load_file(start).items()})
    batch = batch or (_CPU_BATCH if place.type == "cpu" else _BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=0.02)
    weights = torch.tensor([_WEIGHTS.get(p.group, 1.0) for p in PARAMETERS], device=place)
    weights /= weights.mean()
    began = last = time.monotonic()
    step, mean = 0, torch.zeros((), device=place)
    while (elapsed := time.monotonic() - began) < 60 * minutes:
        share = elapsed / (60 * minutes)
        if step % _REFRESH_EVERY == 0:
            stored.refresh()
        for group in optimiser.param_groups:
            group["lr"] = _RATE * min(1.0, (step + 1) / 50) * min(1.0, 1.4 * (1 - share))
        people = _learned(
            torch.randint(
                max(1, len(stored) * (HELD_OUT_EVERY - 1) // HELD_OUT_EVERY), (batch,), generator=draws
            )
        ).tolist()
        chosen = [int(torch.randint(stored.views_of(k), (1,), generator=draws)) for k in people]
        images, zoom, scores = (t.to(place) for t in _read(stored, people, chosen))
        picture = jitter(images, zoom, rng).contiguous(memory_format=torch.channels_last)
        with torch.autocast(place.type, torch.bfloat16):
            guess = network(picture)
        loss = (F.smooth_l1_loss(guess.float(), scores, beta=0.5, reduction="none") * weights).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        step += 1
        mean = torch.lerp(mean, loss.detach(), 1 / min(step, 100))
        if time.monotonic() - last > 20:
            last = time.monotonic()
            print(f"step {step}  {share:.0%}  loss {mean.item():.4f}", flush=True)
    network = network.eval().cpu()
    return network, correlations(network, stored, list(range(0, len(stored), HELD_OUT_EVERY))), step


def make_judge(
    folder: Path,
    minutes: float,
    seed: int = 0,
    device: str = "auto",
    start: Path | None = None,
    out: Path | None = None,
) -> dict[str, float]:
    """Train the judge on the stored people in `folder`, and write its weights and card.

    Args:
        folder: folder of the stored set.
        minutes: time of training.
        seed: of the training.
        device: auto, cpu or cuda.
        start: weights to begin from; None begins from random ones.
        out: where to write; None replaces the bundled judge.

    Returns:
        The correlation of its readings with the truth on held-out people, by parameter.
    """
    out = out or JUDGE_PATH
    stored = open_set(folder)
    network, correlation, steps = train(stored, minutes, seed, device, start)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.half().contiguous() for k, v in network.state_dict().items()}, out)
    card = {
        "parameters": NUM_PARAMETERS,
        "people": len(stored),
        "steps": steps,
        "start": None if start is None else start.name,
        "correlation": correlation,
    }
    out.with_suffix(".json").write_text(json.dumps(card, indent=1) + "\n")
    return correlation
