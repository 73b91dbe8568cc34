"""The types that inversion methods share: problem, result, and the protocol of a method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from inverters.errors import FingerprintError, InverterError

I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

OnStep = Callable[[int, int, dict[str, float]], None]
"""Called after each step as on_step(steps done, steps in all, {loss name: value})."""

Settings = TypeVar("Settings")
"""A method's own frozen dataclass of settings, see `methods.common.MethodSettings`."""


@dataclass(frozen=True)
class Inversion:
    """Result of a method for one clip: codes, and what else the method fitted.

    Row k of `ws`, `phi` and `cameras` belongs to source frame `frames[k]`.
    """

    method: str
    preset: str
    """Name of the settings, such as `draft` or `draft/no-entropy`."""
    fingerprint: str
    """Of the generator that the codes belong to."""
    frames: I64
    """[K] int64, indices in the source."""
    ws: Tensor
    """Codes [K,num_ws,w_dim]."""
    latent: dict[str, Tensor] = field(default_factory=dict)
    """What belongs to the codes in other spaces than W and W+, each of K rows: `z` [K,num_ws,z_dim], of which
    `ws` is the mapping; base codes `features` [K,F,r,r]; offsets of `styles` [K,num_styles]; offsets of the
    features after the block of resolution 16, `offset16` [K,F,16,16]; and what a second network makes offsets
    of the planes of, `looks` uint8 [K,2 or 3,3,S,S], or local features: `source` uint8 [K,3,S,S], pictures,
    and `source_camera` [K,25], their cameras' labels; or what a second network added to the features of the
    block of resolution b, `aligned` float16 [K,F,b,b] (`encoders.feature_offsets`).
    """
    refiner: dict[str, Tensor] = field(default_factory=dict)
    """Weights of the network that makes offsets of the planes (`encoders.plane_offsets`), whose sizes are in
    `info["offsets"]`, or local features (`encoders.local_details`, `info["local"]`); {} without one.
    """
    seen: dict[str, Tensor] = field(default_factory=dict)
    """What an encoder saw beside the codes: `cover` [K,h,h] in [0,1], a soft mask of what is not the face;
    and with `aligned`, by which cameras, `cam2world` [K,4,4] and `intrinsics` [K,3,3].
    """
    cameras: dict[str, Tensor] = field(default_factory=dict)
    """Refined cam2world [K,4,4] and intrinsics [K,3,3]; {} if the method keeps the problem's cameras."""
    ood: dict[str, Tensor] = field(default_factory=dict)
    """State of the second field by name: planes [1,3,C,R,R], phi [K,32], decoder tensors; {} without one."""
    generator: dict[str, Tensor] = field(default_factory=dict)
    """Tuned parameters of the generator by their names in it; {} if the weights are unchanged."""
    history: dict[str, list[float]] = field(default_factory=dict)
    """Value of each loss at every step, by `stage/loss`."""
    info: dict[str, Any] = field(default_factory=dict)

    def check_generator(self, fingerprint: str) -> None:
        """Raise FingerprintError unless the codes belong to the generator with this fingerprint."""
        if fingerprint != self.fingerprint:
            raise FingerprintError(
                f"these codes belong to generator {self.fingerprint[:12]}, "
                f"but the generator in use is {fingerprint[:12]}"
            )

    @property
    def is_fitted(self) -> bool:
        """Whether steps were taken; False for what an encoder told."""
        return bool(self.history)

    @property
    def parts(self) -> tuple[str, ...]:
        """What it holds: `codes`, and what else there is of them and of cameras, second field and weights."""
        latent = {"base codes": "features", "styles": "styles", "plane offsets": "looks"}
        latent["local features"] = "source"
        latent["refined features"] = "aligned"
        found: dict[str, Any] = {part: name in self.latent for part, name in latent.items()}
        found["offsets"] = any(name.startswith("offset") for name in self.latent)
        found |= {"cameras": self.cameras, "second field": self.ood, "weights": self.generator}
        return ("codes", *(name for name, there in found.items() if there))


class CropSource(Protocol):
    """Random access to the aligned crops by row (0..K-1)."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: I64) -> U8:
        """Crops of these rows as uint8 [n,S,S,3] RGB."""
        ...


@dataclass(frozen=True)
class InversionProblem:
    """Input of a method: crops by row (0..K-1), their source frames, cameras and optional masks."""

    crops: CropSource
    frames: I64
    """[K] int64, indices in the source."""
    cam2world: Tensor
    """[K,4,4]."""
    intrinsics: Tensor
    """[K,3,3], normalised by the image size."""
    occluder_masks: CropSource | None = None
    """uint8 [n,S,S], 0 = occluder, 255 = face."""

    def seen_by(self, cameras: Mapping[str, Tensor]) -> InversionProblem:
        """Return the same problem with an inversion's `cameras`; itself for {}."""
        return replace(
            self,
            cam2world=cameras.get("cam2world", self.cam2world).to(self.cam2world),
            intrinsics=cameras.get("intrinsics", self.intrinsics).to(self.cam2world),
        )

    def of_rows(self, rows: I64) -> InversionProblem:
        """Return the problem restricted to these rows [n], in their order."""
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
    rows: I64

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: I64) -> U8:
        return self.source[self.rows[rows]]


class Invert(Protocol):
    """The function of a method; its arguments are those of `Method.__call__`."""

    def __call__(
        self,
        generator: Any,
        problem: InversionProblem,
        *,
        settings: Any,
        start: Inversion | None,
        steps: int | None,
        seed: int,
        checkpoint_dir: Path | None,
        on_step: OnStep | None,
    ) -> Inversion:
        """Invert a clip; see `Method.__call__`."""
        ...


@dataclass(frozen=True)
class Method(Generic[Settings]):
    """An inversion method as a value: name, presets, ablations and the function that runs it.

    A method from another package is found by an entry point of the group `invid.methods`, whose name is the
    method's and whose object is a `Method` (see `methods.table`).
    """

    name: str
    presets: Mapping[str, Settings]
    """Settings by name; at least `draft` (a CPU, short clips), `fast` (a GPU) and `paper` (as published)."""
    steps: Callable[[Settings, int], int]
    """Number of optimisation steps for a clip of so many frames; 0 for an encoder."""
    invert: Invert
    ablations: Mapping[str, Callable[[Settings], Settings]] = field(default_factory=dict)
    """Functions by name that leave a term out of the settings."""
    spaces: frozenset[str] = frozenset()
    """The latent spaces that its codes can be fitted in instead (`settings.codes.space`); empty: none.
    `fitting.spaces.PLAIN` are those without a base code; `f/z+` stands for all layers.
    """
    starts_from: frozenset[str] = frozenset()
    """The parts of an inversion (`Inversion.parts`) that the method can begin from; empty: it cannot."""

    def __call__(
        self,
        generator: Any,
        problem: InversionProblem,
        *,
        settings: Settings,
        start: Inversion | None = None,
        steps: int | None = None,
        seed: int = 0,
        checkpoint_dir: Path | None = None,
        on_step: OnStep | None = None,
    ) -> Inversion:
        """Invert a clip. If interrupted, a second call continues from `checkpoint_dir` to the same bits.

        Args:
            generator: from `generators.load.load_generator`; its weights are not changed.
            problem: crops, frames, cameras and masks of the clip.
            settings: from `presets`, see `methods.table.settings_of`.
            start: an inversion of the same frames and generator to begin from, instead of the method's own
                beginning.
            steps: number of steps in all, split over the stages as the settings split it; None takes theirs.
            seed: of all random draws.
            checkpoint_dir: folder for checkpoints; None writes none.
            on_step: called after each step, see `OnStep`.

        Returns:
            The inversion, one row for each row of the problem.

        Raises:
            InverterError: the method cannot begin from `start`.
            FingerprintError: `start` belongs to another generator.
        """
        if start is not None:
            self._check_start(start, generator.card.fingerprint, problem.frames)
        return self.invert(
            generator,
            problem,
            settings=settings,
            start=start,
            steps=steps,
            seed=seed,
            checkpoint_dir=checkpoint_dir,
            on_step=on_step,
        )

    def _check_start(self, start: Inversion, fingerprint: str, frames: I64) -> None:
        start.check_generator(fingerprint)
        if not self.starts_from:
            raise InverterError(f"{self.name} cannot begin from another inversion; run it without a start")
        if other := [part for part in start.parts if part not in self.starts_from]:
            raise InverterError(
                f"{self.name} cannot begin from an inversion by {start.method}: it cannot go on with its "
                f"{' and '.join(other)}, only with {', '.join(sorted(self.starts_from))}"
            )
        if not np.array_equal(start.frames, frames):
            raise InverterError(
                f"{self.name} cannot begin from an inversion of other frames: it has {len(start.frames)}, "
                f"the clip {len(frames)}, and they are not the same"
            )


def seeded(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a torch.Generator on `device` with this seed."""
    return torch.Generator(device=device).manual_seed(seed)
