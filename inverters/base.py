"""The Inverter protocol, the Inversion it returns, and the registry of methods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from inverters.errors import FingerprintError, UnknownNameError

OnStep = Callable[[int, int, dict[str, float]], None]
"""Called as on_step(steps done, steps in all, {loss name: value})."""


@dataclass(frozen=True)
class Inversion:
    """What a method found for one clip. Row k of `ws`, `phi` and `cameras` belongs to source frame
    `frames[k]`.

    ws [K,num_ws,w_dim]; ood: state of the OOD field (planes [1,3,C,R,R], decoder tensors, phi [K,32]) by
    name, or {};
    cameras: cam2world [K,4,4] and intrinsics [K,3,3] that the method refined, or {} where it kept the
    problem's;
    generator: tuned parameters of the generator, by their names in it, or {};
    history: losses by name, each [steps logged].
    """

    method: str
    preset: str
    fingerprint: str
    frames: np.ndarray
    ws: Tensor
    cameras: dict[str, Tensor] = field(default_factory=dict)
    ood: dict[str, Tensor] = field(default_factory=dict)
    generator: dict[str, Tensor] = field(default_factory=dict)
    history: dict[str, list[float]] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)

    def check_generator(self, fingerprint: str) -> None:
        """Raise FingerprintError unless these codes belong to the generator with this fingerprint."""
        if fingerprint != self.fingerprint:
            raise FingerprintError(
                f"these codes belong to generator {self.fingerprint[:12]}, "
                f"but the generator in use is {fingerprint[:12]}"
            )


class CropSource(Protocol):
    """Random access to the aligned crops by row (0..K-1)."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Crops of these rows as uint8 [n,S,S,3] RGB."""
        ...


@dataclass(frozen=True)
class InversionProblem:
    """Everything a method is given: crops (rows 0..K-1), their source frames, cameras, optional masks (0 =
    occluder).
    """

    crops: CropSource
    frames: np.ndarray  # [K] int64, index in the source
    cam2world: Tensor  # [K,4,4]
    intrinsics: Tensor  # [K,3,3]
    occluder_masks: CropSource | None = None  # uint8 [n,S,S], 0 = occluder, 255 = face

    def seen_by(self, cameras: dict[str, Tensor]) -> InversionProblem:
        """The same problem with an inversion's `cameras`; itself for {}."""
        return replace(self, **{name: tensor.to(self.cam2world) for name, tensor in cameras.items()})

    def of_rows(self, rows: np.ndarray) -> InversionProblem:
        """The problem of these rows [n] alone, in their order."""
        masks = self.occluder_masks
        return InversionProblem(
            crops=_Rows(self.crops, rows),
            frames=self.frames[rows],
            cam2world=self.cam2world[rows],
            intrinsics=self.intrinsics[rows],
            occluder_masks=None if masks is None else _Rows(masks, rows),
        )


@dataclass(frozen=True)
class _Rows:
    """Some rows of a source, in a new order."""

    source: CropSource
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self.source[self.rows[rows]]


class Inverter(Protocol):
    """One inversion method. Stopped anywhere, it continues bit for bit from `checkpoint_dir`."""

    def __call__(
        self,
        generator: Any,
        problem: InversionProblem,
        *,
        preset: str,
        steps: int | None = None,
        seed: int = 0,
        checkpoint_dir: Path | None = None,
        on_step: OnStep | None = None,
    ) -> Inversion: ...


_REGISTRY: dict[str, Inverter] = {}


def register(name: str) -> Callable[[Inverter], Inverter]:
    """Decorator: make an inverter known as `name`."""

    def add(inverter: Inverter) -> Inverter:
        _REGISTRY[name] = inverter
        return inverter

    return add


def get_inverter(name: str) -> Inverter:
    """The inverter called `name`; raises UnknownNameError, which lists those that exist."""
    import inverters.methods.hfgi3d
    import inverters.methods.in_n_out
    import inverters.methods.pose_opt
    import inverters.methods.pti
    import inverters.methods.vive3d
    import inverters.methods.w
    import inverters.methods.w_plus  # noqa: F401

    if name not in _REGISTRY:
        raise UnknownNameError(f"unknown inversion method '{name}'; known: {', '.join(sorted(_REGISTRY))}")
    return _REGISTRY[name]


def seeded(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch.Generator on `device` with this seed."""
    return torch.Generator(device=device).manual_seed(seed)
