"""Pictures of people behind occluders, with the share of each pixel that is covered.

`covered-NNNNN.safetensors` holds PART people, each with one occluder (kind [n], its place in OCCLUDERS) at V
times and views: scores [n,P] float32, image [n,V,3,S,S] uint8, cover [n,V,S,S] uint8, cam2world [n,V,4,4],
zoom [n,V]. What a part holds depends on its number and the seed alone; part 0 is held out.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from inverters.errors import CheckpointError
from inverters.generators.small_files import write_whole
from inverters.training.people_pictures import NUM_PARAMETERS, SPREAD, random_views, sample_scores
from inverters.training.stored_set import zoomed_intrinsics

PART, VIEWS = 16, 8
"""People in a part, and pictures of each."""
SIZE = 128
"""Side of the pictures in pixels."""
HELD_OUT = 0
_SECONDS = 6.0
"""Occluders that move are drawn at random times up to this one."""
_SEED = 3_100_000_000


def covered_path(folder: Path, number: int) -> Path:
    """Return the path of a part."""
    return folder / f"covered-{number:05d}.safetensors"


@torch.no_grad()
def draw_covered(number: int, seed: int = 0, people: int = PART, views: int = VIEWS) -> dict[str, Tensor]:
    """Return the tensors of part `number`."""
    from inverters.people.occluders import OCCLUDERS, animate_occluder, make_occluder
    from inverters.people.person import make_person
    from inverters.people.picture import draw

    rng = torch.Generator().manual_seed((_SEED + seed * 1_000_003 + number) % 2**32)
    scores = sample_scores(people, rng) * SPREAD
    cameras, zoom = random_views(people, rng, views)
    intrinsics = zoomed_intrinsics(zoom.reshape(-1)).reshape(people, views, 3, 3)
    names = list(OCCLUDERS)
    kinds = (torch.arange(people) + number * people) % len(names)
    images, covers = [], []
    for row, kind in enumerate(kinds.tolist()):
        person = make_person(scores[row])
        times = torch.rand(views, generator=rng) * _SECONDS
        states = animate_occluder(names[kind], times, rng)
        still: dict[str, Tensor] = {}
        extra = None
        for view in range(views):
            state = {name: values[view : view + 1] for name, values in states.items()}
            if extra is None or any(not torch.equal(state[name], still[name]) for name in state):
                still, extra = state, make_occluder(names[kind], person, state)
            seen = draw(person, cameras[row, view], intrinsics[row, view], (SIZE, SIZE), extra)
            images.append(((seen.image.clamp(-1, 1) + 1) * 127.5).round().byte())
            covers.append((seen.occluder.clamp(0, 1) * 255).round().byte())
    return {
        "scores": scores,
        "kind": kinds,
        "image": torch.stack(images).unflatten(0, (people, views)),
        "cover": torch.stack(covers).unflatten(0, (people, views)),
        "cam2world": cameras,
        "zoom": zoom,
    }


def make_covered(folder: Path, parts: int, seed: int = 0, until: float | None = None) -> int:
    """Draw the parts that are missing in `folder`, and return how many were drawn.

    Args:
        folder: made if it is missing.
        parts: number of parts, beside the one held out.
        seed: of the people.
        until: time.monotonic() at which to stop; None: never.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = 0
    for number in range(parts + 1):
        path = covered_path(folder, number)
        if path.exists():
            continue
        if until is not None and time.monotonic() >= until:
            break
        write_whole(path, save(draw_covered(number, seed)))
        made += 1
    return made


class CoveredPeople:
    """The parts in a folder, in memory: 128 pictures of 49 KB and their maps a part."""

    def __init__(self, folder: Path, held_out: bool = False) -> None:
        """Read the parts of `folder`: the one held out, or all others."""
        self.folder, self.held_out = folder, held_out
        self._parts: dict[str, dict[str, Tensor]] = {}
        self.tensors: dict[str, Tensor] = {}
        self.refresh()

    def __len__(self) -> int:
        return len(self.tensors["scores"]) if self.tensors else 0

    def refresh(self) -> int:
        """Read parts that are new; return the number of people.

        Raises:
            CheckpointError: a part is damaged, or its people have another number of parameters.
        """
        held, fresh = covered_path(self.folder, HELD_OUT), False
        for path in sorted(self.folder.glob("covered-*.safetensors")):
            if (path == held) != self.held_out or path.name in self._parts:
                continue
            try:
                found = load_file(path)
                parameters = found["scores"].shape[1]
            except (OSError, SafetensorError, KeyError, IndexError) as error:
                raise CheckpointError(f"the covered people in {path} cannot be read ({error})") from error
            if parameters != NUM_PARAMETERS:
                raise CheckpointError(
                    f"the people in {path} have {parameters} parameters, people now have {NUM_PARAMETERS}; "
                    "make them anew in another folder"
                )
            self._parts[path.name], fresh = found, True
        if fresh:
            parts = self._parts.values()
            self.tensors = {name: torch.cat([p[name] for p in parts]) for name in next(iter(parts))}
        return len(self)
