"""Directions: steps of codes, with their space, unit and the method that found them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from inverters.editing.local_basis import LocalBasis
from inverters.editing.styleclip import STEP, LevelsMapper
from inverters.errors import CheckpointError, FingerprintError, InverterError
from inverters.generators.plain_pickle import shown

BATCH = 256
ONE_DEVIATION = "one standard deviation of the parameter"
DIFFERENCES = "mean central difference of the mapping over random heads"


@dataclass(frozen=True, eq=False)
class Direction:
    """A way to move codes.

    `step` is what a strength of one adds: [w_dim] (space w: the same for every layer), [num_ws,w_dim] (space
    w+), or a mapper, whose step depends on the code; of codes of z, [z_dim] (space z), [num_ws,z_dim] (z+),
    or a local basis. `unit` and `method` say in words how long a step is and how it was found.
    """

    step: Tensor | LevelsMapper | LocalBasis
    unit: str
    method: str
    coordinate: int | None = None
    """Number of the entry of z that it moves by one, if there is one; `step` is the same in w."""
    codes: Literal["w", "z"] = "w"
    """Codes that it moves."""
    arc: bool = False
    """Codes of z move by small parts of the step, each retracted (`spaces.along_arc`); False: at once."""

    @property
    def space(self) -> Literal["w", "w+", "z", "z+"]:
        """Space of codes of the direction; rows that are all equal are in w or z."""
        step = self.step
        if isinstance(step, LocalBasis):
            layered = step.layered
        else:
            layered = not isinstance(step, Tensor) or (step.ndim == 2 and bool((step != step[0]).any()))
        if self.codes == "z":
            return "z+" if layered else "z"
        return "w+" if layered else "w"

    @property
    def norm(self) -> float | None:
        """Root mean square over the moving layers of a step's length; None if it depends on the code."""
        if not isinstance(self.step, Tensor):
            return 1.0 if isinstance(self.step, LocalBasis) else None
        rows = self.step.double().reshape(-1, self.step.shape[-1]).norm(dim=1)
        return float(rows[rows > 0].square().mean().sqrt())

    def offset(self, ws: Tensor) -> Tensor:
        """Return what a strength of one adds to codes [K,num_ws,D], in a shape that broadcasts to them.

        A local basis has no step without the generator (`LocalBasis.step`).

        Raises:
            InverterError: the direction is for codes of another shape.
        """
        if isinstance(self.step, LevelsMapper):
            if self.step.width != ws.shape[-1]:
                raise InverterError(
                    f"it maps rows of {self.step.width} numbers; codes here have {list(ws.shape[1:])}"
                )
            return STEP * self.step.to(ws.device, ws.dtype)(ws)
        if isinstance(self.step, LocalBasis):
            raise InverterError("it depends on the code; codes of z alone have a local basis")
        if self.step.shape not in (ws.shape[1:], ws.shape[2:]):
            raise InverterError(f"it has shape {list(self.step.shape)}; codes here have {list(ws.shape[1:])}")
        return self.step.to(ws)

    def digest(self) -> str:
        """Return the SHA-256 of the step, and in z of the way that codes go."""
        if isinstance(self.step, LevelsMapper):
            return self.step.digest()
        way = f"z {self.arc} " if self.codes == "z" else ""
        if isinstance(self.step, LocalBasis):
            return hashlib.sha256(f"{way}{self.step}".encode()).hexdigest()
        data = self.step.detach().cpu().float().contiguous().numpy().tobytes()
        return hashlib.sha256(f"{way}{list(self.step.shape)}".encode() + data).hexdigest()

    def in_layers(self, layers: range, num_ws: int) -> Direction:
        """Return the direction restricted to these layers (GANSpace, section 3.3).

        Raises:
            InverterError: it is a mapper or a local basis, or has no such layer.
        """
        if not isinstance(self.step, Tensor):
            raise InverterError(
                "a mapper has its own layers"
                if isinstance(self.step, LevelsMapper)
                else "a local basis is of all layers"
            )
        if not layers or layers[0] < 0 or layers[-1] >= num_ws:
            raise InverterError(f"layers go from 0 to {num_ws - 1}")
        step = self.step.new_zeros(num_ws, self.step.shape[-1])
        step[layers[0] : layers[-1] + 1] = self.step.expand(num_ws, -1)[layers[0] : layers[-1] + 1]
        method = f"{self.method}, layers {layers[0]}-{layers[-1]}"
        return replace(self, step=step, method=method, coordinate=None)


@dataclass(frozen=True, eq=False)
class Directions:
    """Directions by name, all of one generator: its fingerprint and name, or None and "" if unknown."""

    named: Mapping[str, Direction]
    fingerprint: str | None = None
    generator: str = ""

    def check_fits(self, generator: Any, source: str) -> None:
        """Check that the directions belong to a generator; `source` names their file in the message.

        Raises:
            FingerprintError: they belong to another generator.
            CheckpointError: their shapes do not fit it.
        """
        own, rows = generator.card.fingerprint, generator.num_ws
        if self.fingerprint is not None and self.fingerprint != own:
            raise FingerprintError(
                f"the directions in {source} belong to generator {_named(self.generator, self.fingerprint)}, "
                f"but the one in use is {_named(generator.card.name, own)}"
            )
        for name, direction in self.named.items():
            step = direction.step
            width = generator.config.w_dim if direction.codes == "w" else generator.config.z_dim
            if isinstance(step, LocalBasis):
                if step.number >= min(width, generator.config.w_dim):
                    raise CheckpointError(
                        f"direction '{shown(name)}' in {source} is singular vector {step.number}; generator "
                        f"'{generator.card.name}' has {min(width, generator.config.w_dim)}"
                    )
                continue
            shape = list(step.shape) if isinstance(step, Tensor) else [step.width]
            if shape not in ([width], [rows, width]):
                also = "; 18 rows are made for a 2D StyleGAN2 of 1024 pixels" if shape[0] == 18 else ""
                raise CheckpointError(
                    f"direction '{shown(name)}' in {source} has shape {shape}; generator "
                    f"'{generator.card.name}' needs [{width}] or [{rows},{width}]{also}"
                )


def own_directions(generator: Any) -> Directions:
    """Return the directions of a generator's card."""
    card = generator.card
    places = {name: k for k, name in enumerate(card.parameters)}
    named = {k: Direction(v, ONE_DEVIATION, DIFFERENCES, places.get(k)) for k, v in card.directions.items()}
    return Directions(named, card.fingerprint, card.name)


@torch.no_grad()
def fit_directions(
    generator: Any,
    names: Sequence[str],
    scores_to_z: Callable[[Tensor], Tensor],
    n: int = 512,
    generator_rng: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """Return one direction [w_dim] for each parameter, of one standard deviation of it.

    The mean over `n` random heads of (w(scores + e_k) - w(scores - e_k)) / 2, the central difference of the
    mapping, in which the effects of other parameters cancel exactly.

    Args:
        generator: owner of the mapping.
        names: the parameters, in the order of a row of scores [n,len(names)], standard normal.
        scores_to_z: maps scores [n,P] to z [n,z_dim].
        n: number of heads.
        generator_rng: source of the scores, on the CPU; None seeds one with 0.

    Returns:
        Directions [w_dim] on the CPU, by name.
    """
    rng = generator_rng or torch.Generator().manual_seed(0)
    device = generator.backbone.mapping.w_avg.device
    scores = torch.randn(n, len(names), generator=rng).to(device)
    found: dict[str, Tensor] = {}
    for k, name in enumerate(names):
        step = torch.zeros(len(names), device=device)
        step[k] = 1.0
        total = torch.zeros(generator.config.w_dim, device=device)
        for part in scores.split(BATCH):
            above = generator.mapping(scores_to_z(part + step))[:, 0]
            below = generator.mapping(scores_to_z(part - step))[:, 0]
            total += ((above - below) / 2).sum(0)
        found[name] = (total / n).cpu()
    return found


def _named(name: str, fingerprint: str) -> str:
    return f"'{shown(name)}' ({fingerprint[:12]})" if name else fingerprint[:12]
