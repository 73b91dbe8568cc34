"""Training of TriPlaneNet's second branch (`invid train-encoder triplanenet`), without photographs.

Bhattarai et al. 2023, with the first branch fixed. The branch sees one view of a person. Compared are that
view and a second one, where v2 takes the mirrored picture: without it, an offset is right from its own camera
alone. Pairs of views are those of true people, which no code of the generator shows, and the generator's
samples. Trainers of other second stages are built upon this one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inverters.encoders.encoder_file import load_encoder
from inverters.encoders.triplanenet import side_by_side
from inverters.errors import CheckpointError
from inverters.fitting.targets import at_pixels, random_pixels, resized
from inverters.generators.feature_loss import FeatureLoss
from inverters.generators.judge import JUDGE_PATH
from inverters.metrics import psnr
from inverters.rendering.fused import render_rays
from inverters.rendering.rays import pixel_centres, rays_at
from inverters.training.contact import save_sheet
from inverters.training.encoder_batches import SIZE, Views, framed, stored_rows
from inverters.training.encoder_figures import PEOPLE
from inverters.training.people_pictures import open_set
from inverters.training.reading import step_rng
from inverters.training.stored_set import StoredPeople, zoomed_intrinsics
from inverters.training.train_encoder import EncoderTrainer

FIRST = "e4e-mask"
"""The first branch of our own networks."""
_CPU_BATCH, _GPU_BATCH = 4, 32
_CANDIDATES = 4
"""People that a near pair of views is chosen from, for each that is drawn."""


@dataclass(frozen=True)
class OffsetLosses:
    """Weights of the losses."""

    rays: int = 2048
    """Random rays of a view; 0: whole pictures."""
    squared: bool = False
    """Colours by their squared error; else by smooth L1."""
    perceptual: float = 0.0
    """Weight of the judge's features, which stand for LPIPS, on whole pictures; that of colours is one."""
    side: float = 1.0
    """Weight of all terms on the second view."""


LOSSES = {
    "own": OffsetLosses(),
    # v1: smooth L1 1, LPIPS 0.1; v2: "mirror loss" of 0.1. Their identity term needs a face network.
    "paper": OffsetLosses(rays=0, perceptual=0.1, side=0.1),
}


@dataclass(frozen=True)
class Second:
    """What both stages make of n views."""

    base: Tensor
    """Planes of the codes alone [n,3,C,R,R]."""
    moved: Tensor
    """Planes of the second stage [n,3,C,R,R]."""
    added: Mapping[str, Tensor]
    """Weighed losses beside those of the views."""


class OffsetTrainer(EncoderTrainer):
    """A run of the second branch in a folder; resumes from its state."""

    network: Any
    learns_covers = False
    presets: ClassVar[Mapping[str, OffsetLosses]] = LOSSES

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Set up the run; arguments and errors as of `EncoderTrainer`.

        A fresh run needs `start`: a network of this kind and these sizes for any generator, or the `e4e-mask`
        for this one, which becomes the first branch.
        """
        super().__init__(*arguments, **options)
        self.first_stage.requires_grad_(False)
        self.weights = self.presets[self.settings.preset]
        self.judge = FeatureLoss(JUDGE_PATH, self.device) if self.weights.perceptual else None
        self.sampling = self.generator.sampling(24, 24)

    @property
    def first_stage(self) -> nn.Module:
        """The network that tells codes; it is fixed."""
        branch: nn.Module = self.network.psp_encoder
        return branch

    def _fresh(self, start: Path | None) -> None:
        if start is None:
            raise CheckpointError(
                f"a run of {self.name} begins at an {FIRST} for its generator; name its file"
            )
        first = load_encoder(start)
        if first.card.network == self.name:
            super()._fresh(start)
            return
        if first.card.network != FIRST:
            raise CheckpointError(
                f"'{start}' is an encoder {first.card.network}; expected {FIRST} or {self.name}"
            )
        card = self.generator.card
        first.card.check_generator(card.name, card.fingerprint)
        if first.card.config != self.config.codes:
            raise CheckpointError(f"'{start}' has other sizes than the first branch of this {self.name}")
        self.first_stage.load_state_dict(first.network.state_dict())
        self.begin_second()

    @torch.no_grad()
    def begin_second(self) -> None:
        """Set a fresh second stage so that it changes nothing: a run begins at the codes alone."""
        mean = self.generator.backbone.mapping.w_avg
        self.network.latent_avg.copy_(mean.expand_as(self.network.latent_avg))
        branch = self.network.triplanenet_encoder
        last = getattr(branch, branch.head_name)[-1]
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def _prepare_losses(self) -> None:
        """Nothing: codes are not learned."""

    def pairs(self, rng: torch.Generator) -> tuple[Views, Views]:
        """Draw two views of each person of a step, on the CPU, in random order."""
        count = self.settings.batch or (_CPU_BATCH if self.device.type == "cpu" else _GPU_BATCH)
        samples, parts = len(self.samples) and (count if self.stored is None else count // 4), []
        if (stored := self.stored) is not None:
            people = self._drawn(0, len(stored), count - samples, lambda some: angles(stored, some), rng)
            parts.append(people_pairs(stored, people.tolist(), rng))
        if samples:
            low = min(self.samples.held_out, len(self.samples) - 1)
            cameras = self.samples.tensors["cam2world"]
            rows = self._drawn(low, len(self.samples), samples, lambda some: between(cameras[some]), rng)
            view = torch.randint(2, (samples,), generator=rng)
            parts.append((self.samples.rows(rows, view), self.samples.rows(rows, 1 - view)))
        first, second = zip(*parts, strict=True)
        seen = _joined(first)
        return seen, _joined(second) if self.reach else seen

    @property
    def reach(self) -> float:
        """Share of the nearest among all pairs of views that a step draws from; 0: the same view twice."""
        return 1.0

    def _drawn(
        self, low: int, high: int, count: int, angle: Callable[[Tensor], Tensor], rng: torch.Generator
    ) -> Tensor:
        """Draw rows [count] from low to high, whose views are as near to each other as `reach` says."""
        if self.reach >= 1:
            return torch.randint(low, high, (count,), generator=rng)
        rows = torch.randint(low, high, (_CANDIDATES * count,), generator=rng)
        near = rows[angle(rows).argsort()][: max(count, math.ceil(self.reach * len(rows)))]
        return near[torch.randperm(len(near), generator=rng)[:count]]

    def offsets(self, seen: Views, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """Return the planes [n,3,C,R,R] of the codes told from views, and the offsets from them."""
        network, image = self.network, framed(seen, torch.Generator(), jitter=0.0)[0].to(self.device)
        with torch.no_grad():
            codes = network.told(image).offsets + network.latent_avg
            planes = self.generator.planes(codes)
            picture = resized(seen.image, self.config.offsets.size).to(self.device)
            looks = network.looks(self.generator, codes, picture, *self._camera(seen), sampling=self.sampling)
        with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
            return planes, network.triplanenet_encoder(side_by_side(looks), planes).float()

    def second(self, seen: Views, dtype: torch.dtype = torch.float32) -> Second:
        """Return what both stages make of views."""
        planes, offset = self.offsets(seen, dtype)
        return Second(planes, planes + offset, {})

    def compared(self, seen: Views) -> dict[str, tuple[Tensor | None, Tensor]]:
        """Return planes [n,3,C,R,R] by the names of their figures.

        Those for the view itself (None: no figure), and those for the other one.
        """
        made = self.second(seen)
        return {"psnr_w": (made.base, made.base), "psnr_refined": (made.moved, made.moved)}

    def _camera(self, views: Views) -> tuple[Tensor, Tensor]:
        return views.cam2world.to(self.device), zoomed_intrinsics(views.zoom).to(self.device)

    def losses(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """Return the weighed losses of the present step."""
        rng = step_rng(self.settings.seed, self.step)
        seen, other = self.pairs(rng)
        made = self.second(seen, dtype)
        found = dict(made.added)
        for name, views, weight in (("source", seen, 1.0), ("side", other, self.weights.side)):
            terms = self._terms(made.moved, views, rng) if weight else {}
            found |= {f"{name}_{term}": weight * loss for term, loss in terms.items()}
        return found

    def _terms(self, planes: Tensor, views: Views, rng: torch.Generator) -> dict[str, Tensor]:
        """Losses of planes [n,3,C,R,R] that are seen by the cameras of views."""
        p, n = self.weights, len(planes)
        pixels = random_pixels(n, p.rays, SIZE, rng).to(self.device)
        centres = pixel_centres((SIZE, SIZE), device=self.device)
        rays, truth = rays_at(*self._camera(views), centres[pixels]), views.image.to(self.device)
        colours = render_rays(self.generator.field(planes, 3), *rays, self.sampling).features
        name, distance = ("l2", F.mse_loss) if p.squared else ("smooth_l1", F.smooth_l1_loss)
        found = {name: distance(colours, at_pixels(truth, pixels))}
        if self.judge is not None:
            shown = colours.mT.reshape(n, 3, SIZE, SIZE)
            found["perceptual"] = p.perceptual * self.judge(shown, truth)
        return found

    @torch.no_grad()
    def figures(self, sheet: Path) -> dict[str, float]:
        """Return PSNR in dB of people held out, and write a sheet of them.

        psnr_w and psnr_refined: of codes alone and with the second stage, from the camera of the picture;
        psnr_w_side and psnr_refined_side: from the other one.
        """
        if (held_out := self._held_out()) is None:
            return {}
        found: dict[str, float] = {}
        rows = []
        for views, end, images in zip(held_out, ("", "_side"), self.shown(held_out), strict=True):
            truth = views.image.to(self.device)
            found |= {f"{k}{end}": round(float(psnr(v, truth).mean()), 3) for k, v in images.items()}
            rows += [truth, *images.values()]
        save_sheet(rows, sheet)
        return found

    def shown(self, both: tuple[Views, Views]) -> list[dict[str, Tensor]]:
        """Return pictures [n,3,128,128] of two views by the names of their figures; the first one is seen."""
        planes, found = self.compared(both[0]), []
        for k, views in enumerate(both):
            camera = self._camera(views)
            found.append(
                {
                    name: self.generator.render(own, *camera, SIZE, self.sampling).features[:, :3]
                    for name, of in planes.items()
                    if (own := of[k]) is not None
                }
            )
        return found

    def _held_out(self) -> tuple[Views, Views] | None:
        rng = torch.Generator().manual_seed(0)
        if self.stored is not None:
            people = open_set(self.stored.folder, held_out=True)
            if some := list(range(min(PEOPLE, len(people)))):
                return people_pairs(people, some, rng)
        rows = torch.arange(min(PEOPLE, self.samples.held_out))
        if not len(rows):
            return None
        return self.samples.rows(rows, torch.zeros_like(rows)), self.samples.rows(rows, torch.ones_like(rows))


def people_pairs(people: StoredPeople, rows: list[int], rng: torch.Generator) -> tuple[Views, Views]:
    """Return two views of each of these stored people, in random order."""
    order = torch.stack([torch.randperm(people.views_of(row), generator=rng)[:2] for row in rows]).T.tolist()
    first, second = (stored_rows(people, rows, [[view] for view in views]) for views in order)
    return first, second


def angles(people: StoredPeople, rows: Tensor) -> Tensor:
    """Return the angles [n] in radians between the first two views of stored people."""
    both = [[0, 1]] * len(rows)
    return between(people.read(rows.tolist(), both, ("cam2world",))["cam2world"])


def between(cam2world: Tensor) -> Tensor:
    """Return the angles [n] in radians between the first two of cameras [n,V,4,4]."""
    forward = cam2world[:, :2, :3, 2]
    return (forward[:, 0] * forward[:, 1]).sum(-1).clamp(-1, 1).acos()


def _joined(parts: Sequence[Views]) -> Views:
    """Views of several sources; their codes differ in kind and are left out."""
    names = ("image", "cover", "cam2world", "zoom")
    tensors = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
    return Views(**tensors, codes=torch.empty(len(tensors["zoom"]), 0))
