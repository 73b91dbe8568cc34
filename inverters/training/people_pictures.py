"""Pictures of random people for the stored set, drawn by the world's own renderer.

The only file of the training that knows how people are made and drawn.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from inverters.people import backdrop
from inverters.people.labels import BROW, EYE, GLASSES, LIPS, MOUTH
from inverters.people.look import look_weights, looks
from inverters.people.params import NUM_PARAMETERS, PARAMETERS, index, sample_scores, to_values, to_z
from inverters.rendering.cameras import look_at, mirror
from inverters.training.stored_set import (
    PART_PEOPLE,
    StoredPeople,
    Views,
    part_path,
    write_part,
    zoomed_intrinsics,
)

DETAIL = (EYE, MOUTH, LIPS, BROW)
"""Labels of what people look at."""

WATCHED = (*DETAIL, GLASSES)
"""Labels that training draws from more often."""

__all__ = [
    "DETAIL",
    "NUM_PARAMETERS",
    "PARAMETERS",
    "WATCHED",
    "fill",
    "index",
    "look_weights",
    "looks",
    "make_people",
    "open_set",
    "sample_scores",
    "start_workers",
    "to_z",
    "varied",
]

VIEWS = 2
"""Pictures of a person; the first is near frontal. More people teach more than more views of them."""

SIZE, MAP_SIZE = 256, 128
"""Sides in pixels of the pictures, and of the maps of depth and labels."""

MAX_YAW, MAX_PITCH = 0.65, 0.3
"""Half ranges in radians of the cameras the generator is trained and judged on."""

ZOOM = (0.8, 1.1)
"""Range of the focal length, relative to EG3D's: crops estimated from a video are framed differently."""

SPREAD = 1.15
"""Standard deviation of the scores, so that the ends of each range are learned too."""

SIDEWAYS = ("gaze_x", "hair_part", "light_x")
"""Parameters of a person that change their sign in a mirror."""

_FRONTAL = (0.15, 0.2)
"""Shares of the ranges of yaw and pitch that a near frontal view takes."""

_BEHIND = 3.6
"""Largest depth that is stored, in world units: half precision, and rays end before."""

_SEED = 2_500_000_000


def open_set(folder: Path, held_out: bool = False) -> StoredPeople:
    """Open a stored set of today's people: the part held out, or all others."""
    return StoredPeople(folder, held_out, NUM_PARAMETERS)


def random_views(count: int, rng: torch.Generator, views: int = VIEWS) -> tuple[Tensor, Tensor]:
    """Return cameras [count,views,4,4] and zooms [count,views], uniform; view 0 is near frontal."""
    angle = torch.rand(2, count, views, generator=rng) * 2 - 1
    angle[0, :, 0] *= _FRONTAL[0]
    angle[1, :, 0] *= _FRONTAL[1]
    cameras = look_at(angle[0].reshape(-1) * MAX_YAW, angle[1].reshape(-1) * MAX_PITCH)
    zoom = ZOOM[0] * (ZOOM[1] / ZOOM[0]) ** torch.rand(count, views, generator=rng)
    return cameras.reshape(count, views, 4, 4), zoom


@torch.no_grad()
def draw_part(number: int, count: int, seed: int, device: str) -> dict[str, Tensor]:
    """Return the tensors of part `number` of a stored set (see `stored_set`), on the CPU."""
    from inverters.people.person import make_person
    from inverters.people.picture import backdrop_share, draw

    rng = torch.Generator().manual_seed((_SEED + seed * 1_000_003 + number) % 2**32)
    scores = sample_scores(count, rng) * SPREAD
    cameras, zoom = random_views(count, rng)
    intrinsics = zoomed_intrinsics(zoom.reshape(-1)).reshape(count, VIEWS, 3, 3)
    found: dict[str, list[Tensor]] = {"image": [], "backdrop": [], "depth": [], "label": []}
    for row in range(count):
        person = make_person(scores[row].to(device), device)
        for view in range(VIEWS):
            camera = cameras[row, view].to(device), intrinsics[row, view].to(device)
            picture = draw(person, *camera, (SIZE, SIZE))
            found["image"].append(((picture.image.clamp(-1, 1) + 1) * 127.5).round().byte().cpu())
            share = backdrop_share(person, *camera, (SIZE, SIZE))
            found["backdrop"].append((share * 255).round().byte().cpu())
            found["depth"].append(_halved(picture.depth).half().cpu())
            found["label"].append(picture.label[1::2, 1::2].byte().cpu())
    maps = {name: torch.stack(values).unflatten(0, (count, VIEWS)) for name, values in found.items()}
    return {"scores": scores, "cam2world": cameras, "zoom": zoom} | maps


def _halved(depth: Tensor) -> Tensor:
    """Depth [H,W] at half the size [H/2,W/2]: the mean of the pixels on the same surface as most.

    A plain mean would put points of an outline into free space.
    """
    depth = torch.where(depth > 0, depth, torch.inf).clamp_max(_BEHIND)
    h, w = depth.shape
    four = depth.reshape(h // 2, 2, w // 2, 2).permute(0, 2, 1, 3).reshape(h // 2, w // 2, 4).sort(-1).values
    same = ((four - four[..., 1:2]).abs() < 0.02).to(four)
    return (four * same).sum(-1) / same.sum(-1)


@torch.no_grad()
def varied(views: Views, rng: torch.Generator) -> Views:
    """Return stored people, each before a random backdrop in place of its own, about half of them mirrored.

    Nothing of a person depends on its backdrop, so a new one gives what drawing the changed person would, to
    a few grey levels at the picture's border and one elsewhere. A mirrored person is the one whose gaze,
    parting and light come from the other side, but for single strands and moles, which are the same for
    everybody. Both cost little, and a generator learns no person by heart together with the wall behind.

    Args:
        views: of people, with V views each, on the CPU.
        rng: source of backdrops and of the choice.
    """
    found = {name: value.clone() for name, value in views.items()}
    found["image"] = views["image"].float()
    _add_backdrops(found, -1.0)  # before mirroring: the backdrop's shapes have no mirror images
    flip = torch.rand(len(views["scores"]), generator=rng) < 0.5
    for name in ("image", "backdrop", "depth", "label"):
        found[name][flip] = found[name][flip].flip(-1)
    cameras = views["cam2world"][flip]
    found["cam2world"][flip] = mirror(cameras.flatten(0, 1)).view_as(cameras)
    scores = found["scores"]
    scores[:, [index(name) for name in SIDEWAYS]] *= 1 - 2 * flip[:, None].float()
    columns = [k for k, parameter in enumerate(PARAMETERS) if parameter.group == "background"]
    scores[:, columns] = SPREAD * torch.randn(len(scores), len(columns), generator=rng)
    _add_backdrops(found, 1.0)
    return found | {"image": found["image"].round_().clamp_(0, 255).byte()}


def _add_backdrops(views: Views, sign: float) -> None:
    """Add the people's own backdrops, times `sign`, to images [B,V,3,S,S] in [0,255], by their share."""
    values, image = to_values(views["scores"]), views["image"]
    side = image.shape[-1]
    for row in range(len(image)):
        for view, lens in enumerate(zoomed_intrinsics(views["zoom"][row])):
            camera = views["cam2world"][row, view], lens, (side // 2, side // 2)  # it is out of focus
            colour = backdrop.seen(values, row, *camera)[0].permute(2, 0, 1)
            colour = F.interpolate(colour[None], size=(side, side), mode="bilinear")[0]
            image[row, view].addcmul_(colour, views["backdrop"][row, view].float(), value=sign)


def make_people(
    folder: Path, people: int, seed: int = 0, device: str = "cpu", wanted: Callable[[], bool] = lambda: True
) -> int:
    """Draw people into `folder` until it holds `people`, beside the part held out, and return the parts made.

    Several processes may fill one folder: parts that others make are left to them. What a part holds depends
    on its number and the seed alone. It ends before a part that is no longer `wanted`.
    """
    made = 0
    for number in _parts(people):
        if part_path(folder, number).exists():
            continue
        if not wanted():
            break
        began = time.monotonic()
        if write_part(folder, number, partial(draw_part, number, PART_PEOPLE, seed, device)):
            made += 1
            took = time.monotonic() - began
            print(f"people: part {number}, {PART_PEOPLE * VIEWS / took:.1f} pictures a second", flush=True)
    return made


def _parts(people: int) -> range:
    """Numbers of the parts of so many people, with the one held out."""
    return range(1 + -(-people // PART_PEOPLE))


def start_workers(
    folder: Path, people: int, workers: int, seed: int = 0, device: str = "cpu"
) -> list[BaseProcess]:
    """Start processes that fill `folder` at low priority; they end with the caller.

    None are started if it is full. An interrupt of the whole group must reach the trainer alone, which saves.
    The workers of a killed process finish their present part.

    Args:
        folder: of the stored set.
        people: to make, beside the part held out; 0: 2000 on a CPU, 20000 on a GPU.
        workers: processes; 0: one on a CPU, four on a GPU.
        seed: of the people.
        device: cpu or cuda.
    """
    on_gpu = device != "cpu"
    people, workers = people or (20_000 if on_gpu else 2_000), workers or (4 if on_gpu else 1)
    if all(part_path(folder, number).exists() for number in _parts(people)):
        return []
    context = multiprocessing.get_context("spawn")
    arguments = (folder, people, seed, device)
    processes: list[BaseProcess] = [
        context.Process(target=_work, args=arguments, daemon=True) for _ in range(workers)
    ]
    for process in processes:
        process.start()
    return processes


def fill(folder: Path, people: int, workers: int, seed: int = 0, device: str = "cpu") -> None:
    """Fill `folder` by `start_workers` and wait until it holds `people`."""
    for process in start_workers(folder, people, workers, seed, device):
        process.join()


def _work(folder: Path, people: int, seed: int, device: str) -> None:
    """One worker process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
    os.nice(19)
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()  # a killed one cannot end its workers
    assert parent is not None
    make_people(folder, people, seed, device, parent.is_alive)
