"""The stored set: pictures, depth and labels of people, in files that several processes write at once.

`people-NNNNN.safetensors` holds up to 50 people: scores [n,P] float32, image [n,V,3,S,S] uint8,
backdrop [n,V,S,S] uint8 (the backdrop's share of each pixel), depth [n,V,h,h] float16 along the rays in world
units, label [n,V,h,h] uint8, cam2world [n,V,4,4], zoom [n,V]. View 0 of each person is near frontal. Part 0
is held out: training never draws from it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from inverters.errors import CheckpointError
from inverters.rendering.cameras import default_intrinsics

PART_PEOPLE = 50
"""People in a file, and the most that an interrupted process loses."""

HELD_OUT = 0
"""Number of the part that is held out."""

TENSORS = frozenset(("scores", "image", "backdrop", "depth", "label", "cam2world", "zoom"))
"""What a file holds."""

Views = dict[str, Tensor]
"""Rows of the set, on one device: the tensors of a file, with depth as float32."""


def part_path(folder: Path, number: int) -> Path:
    """Return the path of a part."""
    return folder / f"people-{number:05d}.safetensors"


def write_part(folder: Path, number: int, make: Callable[[], dict[str, Tensor]]) -> bool:
    """Write a part with the tensors that `make` returns, unless it exists or another process makes it.

    The lock of the unfinished file ends with its process, so that a killed one leaves nothing behind that
    stops the next.

    Returns:
        Whether this call wrote it.
    """
    import fcntl

    path = part_path(folder, number)
    folder.mkdir(parents=True, exist_ok=True)
    if path.exists():
        return False
    draft = path.with_suffix(".part")
    with draft.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        if path.exists():  # finished between the two looks; the file locked here is empty or is `path`
            draft.unlink(missing_ok=True)
            return False
        data = save({name: value.contiguous() for name, value in make().items()})
        file.truncate(0)
        file.write(data)
        file.flush()
        draft.rename(path)
    return True


def framing(scale: Tensor, roll: Tensor, shift: Tensor) -> Tensor:
    """Return the maps [n,2,3] of `F.affine_grid` that scale [n], roll [n] (radians) and shift [n,2] pictures.

    A scale above one shows more of the picture; shifts are in halves of its side.
    """
    across = torch.stack([scale, -roll * scale, shift[:, 0]], 1)
    down = torch.stack([roll * scale, scale, shift[:, 1]], 1)
    return torch.stack([across, down], 1)


def zoomed_intrinsics(zoom: Tensor) -> Tensor:
    """Return intrinsics [N,3,3] of pictures whose focal length is `zoom` [N] times EG3D's."""
    intrinsics = default_intrinsics(len(zoom)).to(zoom)
    intrinsics[:, :2, :2] *= zoom[:, None, None]
    return intrinsics


class StoredPeople:
    """The parts in a folder, mapped into memory; `refresh` finds those that were written since."""

    def __init__(self, folder: Path, held_out: bool = False, parameters: int | None = None) -> None:
        """Open the parts of `folder`: the one held out, or all others.

        `parameters` is the number that a person must have; None takes any.
        """
        self.folder, self.held_out, self.parameters = folder, held_out, parameters
        self._parts: dict[str, Any] = {}
        self._places: list[tuple[str, int]] = []
        self.refresh()

    def __len__(self) -> int:
        return len(self._places)

    def refresh(self) -> int:
        """Open parts that are new and return the number of people.

        Raises:
            CheckpointError: a part is damaged or an older one, or its people have other parameters.
        """
        held = part_path(self.folder, HELD_OUT)
        for path in sorted(self.folder.glob("people-*.safetensors")):
            if (path == held) != self.held_out or path.name in self._parts:
                continue
            try:
                file = safe_open(path, framework="pt")
                count, parameters = file.get_slice("scores").get_shape()
                names = set(file.keys())
            except (OSError, SafetensorError) as error:
                raise CheckpointError(f"the stored people in {path} cannot be read ({error})") from error
            if self.parameters not in (None, parameters):
                raise CheckpointError(
                    f"the people in {path} have {parameters} parameters, people now have {self.parameters}; "
                    "make them anew in another folder"
                )
            if missing := TENSORS - names:
                raise CheckpointError(
                    f"the people in {path} lack {', '.join(sorted(missing))}, which this version stores; "
                    "make them anew in another folder"
                )
            self._parts[path.name] = file
            self._places += [(path.name, row) for row in range(count)]
        return len(self)

    def read(
        self, people: list[int], views: list[list[int]] | None = None, names: tuple[str, ...] = ()
    ) -> Views:
        """Return people by number, with the given views of each (None: all).

        Args:
            people: numbers below the length of the set.
            views: as many for each person.
            names: the tensors to read; empty reads all.
        """
        found: dict[str, list[Tensor]] = {}
        for k, person in enumerate(people):
            part, row = self._places[person]
            file = self._parts[part]
            for name in names or file.keys():
                rows = file.get_slice(name)
                if name == "scores" or views is None:
                    value = rows[row : row + 1][0]
                else:
                    value = torch.cat([rows[row : row + 1, v : v + 1][0] for v in views[k]])
                found.setdefault(name, []).append(value.float() if name == "depth" else value)
        return {name: torch.stack(values) for name, values in found.items()}

    def draw(self, count: int, views: int, rng: torch.Generator) -> Views:
        """Return `count` people, different ones if there are enough, with `views` random views each.

        Raises:
            CheckpointError: the set is empty.
        """
        if not self._places:
            raise CheckpointError(f"there are no stored people in {self.folder}")
        if count <= len(self):
            people = torch.randperm(len(self), generator=rng)[:count].tolist()
        else:
            people = torch.randint(len(self), (count,), generator=rng).tolist()
        chosen = [torch.randperm(self.views_of(k), generator=rng)[:views].tolist() for k in people]
        return self.read(people, chosen)

    def views_of(self, person: int) -> int:
        """Return the number of views of a person; parts may differ in it."""
        return int(self._parts[self._places[person][0]].get_slice("zoom").get_shape()[1])
