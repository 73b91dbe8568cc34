"""Training of the face embedding on stored people (`invid train-face-embedding`)."""

from __future__ import annotations

import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn

from inverters.generators.face_embedding import (
    FACE_EMBEDDING_PATH,
    FACE_SHARE,
    FACE_SIZE,
    FaceEmbeddingNetwork,
)
from inverters.generators.small_files import write_whole
from inverters.people.labels import BACKDROP
from inverters.training.machine import pick_device
from inverters.training.people_pictures import PARAMETERS, open_set
from inverters.training.stored_set import StoredPeople, framing

_BATCH = 64
"""People in a step, each in two pictures."""
_RATE = 2e-3
_TEMPERATURE = 0.1
_LASTING = ("body", "shape", "skin", "eyes", "hair")
"""Groups of parameters that belong to the person; the network learns to read them, too."""
_PASSING = ("expression", "light", "clothing", "background")
"""Groups that change within a clip or between people who sit together; they are projected out at the end."""
_READING = 0.3
"""Weight of the loss of the readings."""
_TURN_PEOPLE, _TURN_REACH = 1500, 3.0
"""People from which the turn of a face is learned, and how much farther their framing varies: landmarks that
lie the wrong way up frame a face badly, too."""
_HELD_OUT_PEOPLE = 1000
"""People at the end of the set that are held out for the projection and the card."""


def framed(views: dict[str, Tensor], rng: torch.Generator, reach: float = 1.0) -> Tensor:
    """Faces [N,3,64,64] in about [-1,1] from stored pictures, with what may differ between two of a person.

    Framing: shifted by up to 4 % of the side, scaled by up to 8 %, rolled by up to 6 degrees, each `reach`
    times. The backdrop is replaced by a colour. Gain, gamma, blur and noise differ; a part is covered in a
    third of the pictures.

    views: `image` uint8 [N,3,S,S], `label` uint8 [N,h,w], `zoom` [N], on the device of `rng`.
    """
    zoom, device = views["zoom"], views["zoom"].device
    n = len(zoom)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=rng, device=device) * 2 - 1

    image = views["image"].float() / 127.5 - 1
    image = F.avg_pool2d(image, image.shape[-1] // views["label"].shape[-1])
    backdrop = (views["label"][:, None] == BACKDROP).float()
    image = torch.lerp(image, uniform(n, 3, 1, 1).expand_as(image), backdrop)
    scale = FACE_SHARE * zoom * (1 + 0.08 * reach * uniform(n))
    roll, shift = 0.1 * reach * uniform(n), 0.08 * reach * uniform(n, 2)
    size = [n, 3, FACE_SIZE, FACE_SIZE]
    grid = F.affine_grid(framing(scale, roll, shift), size, align_corners=False)
    face = F.grid_sample(image, grid, padding_mode="border", align_corners=False)
    face = ((face + 1) / 2).clamp(0, 1) ** torch.exp(0.35 * uniform(n, 1, 1, 1)) * 2 - 1
    face = (face + 1) * (1 + 0.3 * uniform(n, 1, 1, 1) + 0.1 * uniform(n, 3, 1, 1)) - 1
    soft = F.avg_pool2d(F.pad(face, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    face = torch.lerp(face, soft, torch.rand(n, 1, 1, 1, generator=rng, device=device) ** 2)
    return _covered(face.clamp(-1, 1), rng) + 0.03 * torch.randn(face.shape, generator=rng, device=device)


def _covered(faces: Tensor, rng: torch.Generator) -> Tensor:
    """A third of the faces with a rectangle of one colour over a part of them."""
    n, device = len(faces), faces.device
    draw = torch.rand(8, n, 1, 1, generator=rng, device=device)
    place = torch.linspace(0, 1, FACE_SIZE, device=device)
    within = (place[:, None] - draw[0]).abs() < 0.05 + 0.25 * draw[2]
    within = within & ((place[None] - draw[1]).abs() < 0.05 + 0.35 * draw[3])
    within = within & (draw[4] < 1 / 3)
    return torch.where(within[:, None], draw[5:].permute(1, 0, 2, 3) * 2 - 1, faces)


def pair_loss(embeddings: Tensor) -> Tensor:
    """NT-Xent (Chen et al. 2020, eq. 1) of unit vectors [2N,D]: row k and k + N are of one person."""
    count = len(embeddings) // 2
    alike = embeddings @ embeddings.T / _TEMPERATURE
    alike.fill_diagonal_(-torch.inf)
    other = torch.arange(2 * count, device=embeddings.device).roll(count)
    return F.cross_entropy(alike, other)


def _read(stored: StoredPeople, people: list[int]) -> dict[str, Tensor]:
    """Two views of each of these people, [2N,...] with the first views first, and `scores` [N,P]."""
    found = stored.read(people, [[0, 1]] * len(people), ("image", "label", "zoom", "scores"))
    scores = found.pop("scores")
    return {name: value.transpose(0, 1).flatten(0, 1) for name, value in found.items()} | {"scores": scores}


def _columns(groups: tuple[str, ...]) -> list[int]:
    return [k for k, parameter in enumerate(PARAMETERS) if parameter.group in groups]


@torch.no_grad()
def project_out(network: FaceEmbeddingNetwork, embeddings: Tensor, scores: Tensor) -> None:
    """Take out of the network's last layer the directions that tell passing parameters.

    embeddings [N,D], scores [N,P] of the same pictures. The directions are those of a ridge regression to the
    parameters in `_PASSING` that it predicts with a correlation of 0.3 or more.
    """
    x = embeddings - embeddings.mean(0)
    y = scores[:, _columns(_PASSING)]
    y = y - y.mean(0)
    ridge = torch.linalg.solve(x.T @ x + 1e-2 * len(x) / x.shape[1] * torch.eye(x.shape[1]), x.T @ y)
    guess = x @ ridge
    correlation = (guess * y).sum(0) / (guess.norm(dim=0) * y.norm(dim=0)).clamp(min=1e-9)
    if (correlation > 0.3).any():
        basis, _ = torch.linalg.qr(ridge[:, correlation > 0.3])
        keep = torch.eye(x.shape[1]) - basis @ basis.T
        network.head.weight.copy_(keep @ network.head.weight)
        network.head.bias.copy_(keep @ (network.head.bias))


@torch.no_grad()
def embedded(
    network: FaceEmbeddingNetwork, stored: StoredPeople, people: list[int], rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Embeddings [2N,D] of two views of these people, the first views first, and their scores [N,P]."""
    first, second, scores = [], [], []
    for start in range(0, len(people), _BATCH):
        found = _read(stored, people[start : start + _BATCH])
        scores.append(found.pop("scores"))
        one, other = network(framed(found, rng)).chunk(2)
        first.append(one)
        second.append(other)
    return torch.cat([*first, *second]), torch.cat(scores)


@torch.no_grad()
def learn_turns(
    network: FaceEmbeddingNetwork, stored: StoredPeople, people: list[int], rng: torch.Generator
) -> None:
    """Set the layer that tells how a face stands: ridge regression to one of four turns."""
    size = network.turn.in_features + 1
    gram, target = torch.zeros(size, size), torch.zeros(size, 4)
    for start in range(0, len(people), _BATCH):
        found = _read(stored, people[start : start + _BATCH])
        faces = framed(found, rng, reach=_TURN_REACH)
        for turn in range(4):
            x = network.features(faces.rot90(turn, (2, 3)))
            x = torch.cat([x, torch.ones(len(x), 1)], 1)
            gram += x.T @ x
            target[:, turn] += x.sum(0)
    solved = torch.linalg.solve(gram + 1e-3 * gram.diagonal().mean() * torch.eye(size), target)
    network.turn.weight.copy_(solved[:-1].T)
    network.turn.bias.copy_(solved[-1])


@torch.no_grad()
def share_told(
    network: FaceEmbeddingNetwork, stored: StoredPeople, people: list[int], rng: torch.Generator
) -> float:
    """Share of pictures of these people, in all four turns, whose turn is told."""
    right = total = 0
    for start in range(0, len(people), _BATCH):
        found = _read(stored, people[start : start + _BATCH])
        faces = framed(found, rng)
        for turn in range(4):
            told = network.turns(faces.rot90(turn, (2, 3))).argmax(1)
            right, total = right + int((told == turn).sum()), total + len(told)
    return round(right / total, 4)


def rates(embeddings: Tensor) -> dict[str, float]:
    """How well embeddings [2N,D] of `embedded` tell people apart.

    `same` and `other`: mean cosine of two pictures of one person, and of two people. `equal_error`: share of
    pairs on the wrong side of the cosine `threshold` at which both kinds err alike. `nearest`: share of
    people whose second picture is more like their first than like a picture of any of 9 others.
    """
    count = len(embeddings) // 2
    alike = embeddings[:count] @ embeddings[count:].T
    same = alike.diagonal()
    other = alike[~torch.eye(count, dtype=torch.bool)]
    levels = torch.linspace(-1, 1, 401)
    missed = (same[None] < levels[:, None]).float().mean(1)
    wrong = 1 - torch.searchsorted(other.sort().values, levels).float() / len(other)
    at = int((missed - wrong).abs().argmin())
    rivals = torch.stack([alike.roll(k, 1).diagonal() for k in range(1, 10)])
    return {
        "same": round(same.mean().item(), 4),
        "other": round(other.mean().item(), 4),
        "threshold": round(levels[at].item(), 4),
        "equal_error": round(((missed + wrong)[at] / 2).item(), 4),
        "nearest": round((same > rivals.amax(0)).float().mean().item(), 4),
    }


def train(
    stored: StoredPeople, minutes: float, seed: int = 0, device: str = "auto"
) -> tuple[FaceEmbeddingNetwork, int]:
    """Train the network on all people but the last _HELD_OUT_PEOPLE; returns it and the number of steps."""
    place = pick_device(device)
    torch.manual_seed(seed)
    draws, rng = torch.Generator().manual_seed(seed), torch.Generator(place).manual_seed(seed)
    network = FaceEmbeddingNetwork().to(place).to(memory_format=torch.channels_last)
    lasting = _columns(_LASTING)
    reader = nn.Linear(network.head.out_features, len(lasting)).to(place)
    weights = [*network.parameters(), *reader.parameters()]
    optimiser = torch.optim.AdamW(weights, lr=_RATE, weight_decay=0.02)
    people = max(2, len(stored) - _HELD_OUT_PEOPLE)
    began = last = time.monotonic()
    step, mean = 0, torch.zeros((), device=place)
    while (elapsed := time.monotonic() - began) < 60 * minutes:
        share = elapsed / (60 * minutes)
        for group in optimiser.param_groups:
            group["lr"] = _RATE * min(1.0, (step + 1) / 50) * min(1.0, 1.4 * (1 - share))
        chosen = torch.randperm(people, generator=draws)[:_BATCH].tolist()
        found = {name: value.to(place) for name, value in _read(stored, chosen).items()}
        truth = found.pop("scores")[:, lasting]
        faces = framed(found, rng).contiguous(memory_format=torch.channels_last)
        with torch.autocast(place.type, torch.bfloat16):
            embeddings = network(faces)
        embeddings = embeddings.float()
        read = reader(embeddings * embeddings.shape[1] ** 0.5)
        loss = pair_loss(embeddings) + _READING * F.smooth_l1_loss(read, truth.repeat(2, 1), beta=0.5)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        step += 1
        mean = torch.lerp(mean, loss.detach(), 1 / min(step, 100))
        if time.monotonic() - last > 20:
            last = time.monotonic()
            print(f"step {step}  {share:.0%}  loss {mean.item():.4f}", flush=True)
    return network.eval().cpu(), step


def make_face_embedding(
    folder: Path, minutes: float, seed: int = 0, device: str = "auto", out: Path | None = None
) -> dict[str, float]:
    """Train the face embedding on the stored people in `folder`, and write its weights and card.

    Returns the card: `rates` of people held out, their number, and the steps. `out`: None replaces the
    bundled network.
    """
    out = out or FACE_EMBEDDING_PATH
    stored = open_set(folder)
    network, steps = train(stored, minutes, seed, device)
    rng = torch.Generator().manual_seed(seed)
    held_out = list(range(max(0, len(stored) - _HELD_OUT_PEOPLE), len(stored)))
    half = max(2, len(held_out) // 2)
    embeddings, scores = embedded(network, stored, held_out[:half], rng)
    project_out(network, embeddings, scores.repeat(2, 1))
    embeddings, _ = embedded(network, stored, held_out[-half:], rng)
    learn_turns(network, stored, list(range(min(_TURN_PEOPLE, len(stored) - half))), rng)
    told = share_told(network, stored, held_out[-half:], rng)
    card = {"people": len(stored), "steps": steps, "held_out": half, **rates(embeddings), "turn_told": told}
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, save({k: v.half().contiguous() for k, v in network.state_dict().items()}))
    write_whole(out.with_suffix(".json"), (json.dumps(card, indent=1) + "\n").encode())
    return card
