"""Joint fit of second field and codes (In-N-Out, sections 4.2 to 4.4), the second stage of `in-n-out`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from inverters.base import seeded
from inverters.fields.ood import OODInit, composite_for_sr, initial_field, ood_field, resumed_field
from inverters.fitting import losses
from inverters.fitting.latents import latent_space
from inverters.fitting.loop import TableStage, backward
from inverters.fitting.row_adam import DenseAdam, RowAdam
from inverters.fitting.schedules import SCHEDULES, step_count
from inverters.fitting.spaces import NO_LAYER_CODES, LayerCodes
from inverters.fitting.targets import (
    Targets,
    at_pixels,
    frames_of_step,
    patch_pixels,
    random_pixels,
    resized,
)
from inverters.memory import batch
from inverters.rendering.fused import RayResult, render_rays
from inverters.rendering.marching import Transmittance

PLANES_KEPT = 2**31
"""Bytes of tri-planes that are kept while the codes are fixed: 6 MB a frame for planes of 128."""

_DOUBT = 0.5
"""Share of the price that what an encoder takes for the face, but the codes do not explain, saves at most."""

DepthPrior = Callable[[Tensor], Tensor]
"""Rows [n] -> relative depth [n,h,h] > 0 of the raw image, known up to scale and shift in disparity."""


@dataclass(frozen=True)
class JointSettings:
    """Joint fit of the second field (In-N-Out, sections 4.2 to 4.4)."""

    steps: int
    """Steps for a clip of 30 frames; longer clips take more, see `growth`."""
    growth: float = 0.0
    """The number of steps grows with (frames / 30) to this power."""
    frames_per_step: int = 1
    rays: int = 0
    """Random rays a frame and step; 0 takes whole raw frames."""
    patch: int = 0
    """Side, in raw pixels, of a square of one frame that is part of each step, for the loss on the final
    image; 0: none.
    """
    coarse: int | None = None
    fine: int | None = None
    """Samples a ray; None takes the generator's."""
    init: OODInit = field(default_factory=OODInit)
    """How a new field is initialised."""
    rate: float = 5e-3
    """Learning rate of planes, decoder and phi."""
    decoder_rate: float | None = None
    """Learning rate of the decoder; None takes `rate`."""
    rate_w: float = 0.0
    """Learning rate of the codes; 0 keeps them, so that each frame's planes are computed once."""
    schedule: str = "constant"
    """Of all learning rates, see `schedules.SCHEDULES`."""
    reduction: Literal["sum", "mean"] = "mean"
    """Of the squared colour error over the pixels of a frame."""
    lambda_perceptual: float = 0.0
    """Weight of LPIPS of the raw image; needs whole frames."""
    lambda_image: float = 0.0
    """Weight of the final image's squared error (whole frames or the patch); super-resolution is fixed."""
    lambda_ood: float = 0.0
    """Weight of the squared error of the second field alone inside the occluder masks, if masks are given."""
    lambda_entropy: float = 0.0
    """Weight of the blend's entropy (equation 6)."""
    entropy_reduction: str = "sum"
    """Of the entropy over the samples of a ray, "sum" or "mean"."""
    skew: float = 1.0
    """Exponent of the blend in its entropy."""
    lambda_area: float = 0.0
    """Weight of the blend's area, see `losses.blend_area`."""
    residual_prior: tuple[float, float] | None = None
    """(scale, price): the second field's share of a pixel costs `price` where the error of the codes alone is
    far below `scale`, nothing where it is far above. None: no such term.
    """
    cover_gain: float = 0.0
    """What that share gains where masks or an encoder say that something covers the face. It needs
    `residual_prior`.
    """
    lambda_delta: float = 0.0
    """Weight of L_delta (section 4.1)."""
    lambda_w: float = 0.0
    """Weight of the distance from the mean code (equation 1)."""
    squared: bool = True
    """Squared norms in L_delta and L_w (paper); False: plain norms (release)."""
    lambda_depth: float = 0.0
    """Weight of the depth term for a single image (equation 7)."""
    transmittance: Transmittance = "product"
    """Form of the transmittance of both fields, see `marching.composite_weights`."""

    def steps_for(self, frames: int) -> int:
        """Return the number of steps for a clip of so many frames."""
        return step_count(self.steps, 0, self.growth, frames, self.frames_per_step)


class JointFit(TableStage):
    """Fits T^O, D^O, phi_t and, with `rate_w`, w_t (equation 8); a stage for `fitting.loop.Run`."""

    name = "joint"

    def __init__(
        self,
        generator: Any,
        targets: Targets,
        ws: Tensor,
        settings: JointSettings,
        steps: int,
        seed: int,
        depth_prior: DepthPrior | None = None,
        begin: Mapping[str, Tensor] | None = None,
        layer_codes: LayerCodes = NO_LAYER_CODES,
        cover: Tensor | None = None,
    ) -> None:
        """Set up the fit at its first step.

        Args:
            generator: the generator, fixed.
            targets: the frames and their cameras.
            ws: codes [K,num_ws,w_dim] at first.
            settings: of the fit.
            steps: number of steps.
            seed: of the initial field and all other random draws.
            depth_prior: relative depth for equation 7, used if there is a single frame.
            begin: state of the second field at first, as in `Inversion.ood`; None draws it from `seed`.
            layer_codes: base codes and offsets of styles of all rows; they do not move.
            cover: soft masks [K,h,h] of what is not the face, which `residual_prior` then goes by.
        """
        self.generator, self.targets, self.settings = generator, targets, settings
        self.steps, self.seed, self.layer_codes = steps, seed, layer_codes
        self.cover = cover
        self.rng = seeded(seed + 1)
        self.sampling = generator.sampling(settings.coarse, settings.fine)
        self.depth_prior = depth_prior if len(targets) == 1 else None  # section 4.3: for a single image only
        self.w_avg = latent_space(generator).w_avg if settings.lambda_w else None
        self.perceptual: losses.ImageLoss = losses.multiscale_loss
        self.perceptual_name = "none"
        if settings.lambda_perceptual:
            self.perceptual, self.perceptual_name = losses.perceptual_loss(device=targets.device)
        first = self._drawn_field() if begin is None else resumed_field(begin)
        first = {name: tensor.to(targets.device) for name, tensor in first.items()}
        self.phi = RowAdam(first.pop("phi"))
        self.field = {name: DenseAdam(tensor, betas=(0.9, 0.99)) for name, tensor in first.items()}
        self.codes = RowAdam(ws.clone())
        self._planes: OrderedDict[int, Tensor] = OrderedDict()
        self._prices: dict[int, Tensor] = {}

    def _drawn_field(self) -> dict[str, Tensor]:
        config, init = self.generator.config, self.settings.init
        channels, colours = config.plane_channels, config.feature_channels
        return initial_field(init, channels, colours, len(self.targets), self.rng)

    # State

    def tables(self) -> dict[str, RowAdam]:
        """Tensors of the field, phi and the codes."""
        return {"phi": self.phi, "codes": self.codes} | dict(self.field)

    def restore(self, state: dict[str, Tensor]) -> None:
        """Load the state of an earlier run of the same job."""
        super().restore(state)
        self._planes.clear()
        self._prices.clear()

    def result(self) -> dict[str, Tensor]:
        """Return the state of the field, as in `Inversion.ood`."""
        field = {name: table.value() for name, table in self.field.items()}
        return field | {"phi": self.phi.values.clone()}

    # The in-distribution side

    @torch.no_grad()
    def _fixed_planes(self, rows: Tensor) -> Tensor:
        """Planes [n,3,C,R,R] of codes that are fixed, computed once a frame."""
        for row in rows.tolist():
            if row in self._planes:
                self._planes.move_to_end(row)
                continue
            # Channels last, as the backbone makes them: joining frames is then plain copying.
            at = torch.tensor([row])
            made = self.layer_codes.at(at).planes(self.generator, self.codes.values[at])
            self._planes[row] = made.flatten(1, 2).permute(0, 2, 3, 1).contiguous()
            room = batch(PLANES_KEPT) // self._planes[row].nbytes
            if len(self._planes) > max(room, len(rows)):
                self._planes.popitem(last=False)
        stacked = torch.cat([self._planes[row] for row in rows.tolist()])
        return stacked.permute(0, 3, 1, 2).unflatten(1, (3, -1))

    @torch.no_grad()
    def _price(self, rows: Tensor) -> Tensor:
        """Price [n,h,h] of the second field in each pixel.

        Zero where the codes alone do not explain a pixel, negative where something covers the face.
        """
        for row in rows.tolist():
            if row not in self._prices:
                self._prices[row] = self._price_of(torch.tensor([row]))
        return torch.cat([self._prices[row] for row in rows.tolist()])

    def _price_of(self, rows: Tensor) -> Tensor:
        (scale, price), gain = self.settings.residual_prior or (1.0, 0.0), self.settings.cover_gain
        if self.targets.problem.occluder_masks is not None:
            cover = 1 - self.targets.keep(rows)
            return price * (1 - cover) - gain * cover
        size = self.targets.resolution
        pixels = random_pixels(1, 0, size, self.rng).to(self.targets.device)
        rays = self.targets.rays(rows, pixels)
        field = self.generator.field(self._fixed_planes(rows), colours=3)
        seen = render_rays(field, *rays, self.sampling).features
        error = (seen.mT.reshape(1, 3, size, size) - self.targets.raw(rows)).square().sum(1, keepdim=True)
        # Averaged over 5 x 5 pixels: an occluder is a region, not the thin edge of a slightly shifted face.
        error = F.avg_pool2d(error, 5, 1, 2, count_include_pad=False).sqrt()[:, 0]
        unexplained = 1 - torch.exp(-((error / (scale + error.median())) ** 2))
        if self.cover is None:
            return price * (1 - unexplained)
        cover = resized(self.cover[rows][:, None].to(unexplained), size)[:, 0]
        return price * (1 - cover) * (1 - _DOUBT * unexplained) - gain * cover

    # One step

    def step(self, i: int) -> dict[str, Tensor]:
        """Update the field on the frames of step `i` by Adam; return the losses."""
        p, targets = self.settings, self.targets
        rows = frames_of_step(i, p.frames_per_step, len(targets), self.seed + 1)
        field = {name: table.whole() for name, table in self.field.items()}
        phi = self.phi.leaf(rows)
        ws = self.codes.leaf(rows) if p.rate_w else self.codes.values[rows]
        pixels = random_pixels(len(rows), p.rays, targets.resolution, self.rng).to(targets.device)

        def losses_of(part: slice) -> dict[str, Tensor]:
            return self._terms(rows[part], pixels[part], ws[part], phi[part], field)

        found = backward(len(rows), targets.device, losses_of)
        self._update(i, rows, field, phi, ws)
        return found

    def _terms(
        self,
        rows: Tensor,
        pixels: Tensor,
        ws: Tensor,
        phi: Tensor,
        field: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        """Losses of some frames; each is a mean over them."""
        p, targets = self.settings, self.targets
        planes = self.generator.planes(ws) if p.rate_w else self._fixed_planes(rows)
        rays = targets.rays(rows, pixels)
        whole = pixels.shape[1] == targets.resolution**2
        # Without the final image only three colours are needed, an eighth of each decoder's outputs.
        slim = not (whole and (p.lambda_image or p.lambda_perceptual))
        seen = self._render(planes, rays, field, phi, slim)
        terms = self._colour_terms(rows, pixels, seen)
        terms |= self._blend_terms(rows, pixels, seen)
        if whole:
            terms |= self._image_terms(rows, ws, seen)
        if p.patch:
            one = slice(0, 1)
            terms |= self._patch_terms(rows[one], planes[one], ws[one], phi[one], field)
        if p.rate_w:
            terms |= self._code_terms(ws)
        return terms

    def _update(self, i: int, rows: Tensor, field: dict[str, Tensor], phi: Tensor, ws: Tensor) -> None:
        p = self.settings
        factor = SCHEDULES[p.schedule](i, self.steps)
        for name, leaf in field.items():
            rate = p.rate if name == "planes" or p.decoder_rate is None else p.decoder_rate
            self.field[name].update(leaf, rate * factor)
        self.phi.step(rows, phi.grad, p.rate * factor)
        if p.rate_w:
            self.codes.step(rows, ws.grad, p.rate_w * factor)

    def _render(
        self, planes: Tensor, rays: tuple[Tensor, Tensor], field: dict[str, Tensor], phi: Tensor, slim: bool
    ) -> RayResult:
        p, colours = self.settings, 3 if slim else None
        return render_rays(
            self.generator.field(planes, colours),
            *rays,
            self.sampling,
            ood_field(field, phi, colours),
            p.transmittance,
            want_samples=bool(p.lambda_entropy or p.lambda_area),
            want_ood_features=self._has_ood_term(),
        )

    def _has_ood_term(self) -> bool:
        return bool(self.settings.lambda_ood) and self.targets.problem.occluder_masks is not None

    def _colour_terms(self, rows: Tensor, pixels: Tensor, seen: RayResult) -> dict[str, Tensor]:
        """Colour term of equation 5; of the second field alone inside the masks (release); depth."""
        p, targets = self.settings, self.targets
        wanted = at_pixels(targets.raw(rows), pixels)
        square = (seen.features[..., :3] - wanted).square()
        # "sum" is over all pixels of the frame; a subset of rays is scaled up accordingly.
        factor = 3 * targets.resolution**2 if p.reduction == "sum" else 1
        terms = {"colour": square.mean() * factor}
        if self._has_ood_term() and seen.ood_features is not None:
            hidden = 1 - at_pixels(targets.keep(rows), pixels)
            alone = (seen.ood_features[..., :3] - wanted).square().sum(-1)
            terms["ood"] = p.lambda_ood * (alone * hidden).sum() / hidden.sum().clamp_min(1)
        if p.lambda_depth and self.depth_prior is not None:
            prior = at_pixels(self.depth_prior(rows).to(targets.device), pixels)
            terms["depth"] = p.lambda_depth * losses.aligned_depth_error(
                seen.depth.flatten(), prior.flatten()
            )
        return terms

    def _blend_terms(self, rows: Tensor, pixels: Tensor, seen: RayResult) -> dict[str, Tensor]:
        """Equation 6, and what limits the second field to what the face does not explain."""
        p = self.settings
        terms: dict[str, Tensor] = {}
        if p.lambda_entropy and seen.sample_blend is not None:
            factor = self.targets.resolution**2 if p.reduction == "sum" else 1
            entropy = losses.blend_entropy(seen.sample_blend, p.skew, p.entropy_reduction)
            terms["entropy"] = p.lambda_entropy * factor * entropy
        if p.lambda_area and seen.sample_blend is not None:
            terms["area"] = p.lambda_area * losses.blend_area(seen.sample_blend)
        if p.residual_prior is not None and seen.ood_opacity is not None:
            terms["price"] = (at_pixels(self._price(rows), pixels) * seen.ood_opacity).mean()
        return terms

    def _image_terms(self, rows: Tensor, ws: Tensor, seen: RayResult) -> dict[str, Tensor]:
        """Losses that need whole frames."""
        p, targets, terms = self.settings, self.targets, {}
        size = targets.resolution
        if p.lambda_perceptual:
            raw = seen.features[..., :3].mT.reshape(len(rows), 3, size, size)
            terms["perceptual"] = p.lambda_perceptual * self.perceptual(raw, targets.raw(rows))
        if p.lambda_image:
            features = seen.features.mT.reshape(len(rows), -1, size, size)
            image = self.generator.superresolve(composite_for_sr(features), ws)
            terms["image"] = p.lambda_image * (image - targets.image(rows, image.shape[-1])).square().mean()
        return terms

    def _patch_terms(
        self, rows: Tensor, planes: Tensor, ws: Tensor, phi: Tensor, field: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Error of the final image of one patch of one frame, through the fixed super-resolution."""
        p, targets = self.settings, self.targets
        side, size = p.patch, targets.resolution
        corner = torch.randint(size - side + 1, (2,), generator=self.rng)
        pixels = patch_pixels(corner, side, size).to(targets.device)
        seen = self._render(planes, targets.rays(rows, pixels), field, phi, slim=False)
        features = seen.features.mT.reshape(1, -1, side, side)
        image = self.generator.superresolution.patch(composite_for_sr(features), ws, size)
        up = image.shape[-1] // side
        top, left = (corner * up).tolist()
        wanted = targets.image(rows, size * up)[..., top : top + side * up, left : left + side * up]
        edge = 2 * up  # convolutions at the patch's border see zeros in place of neighbours
        error = (image - wanted)[..., edge:-edge, edge:-edge]
        return {"image": p.lambda_image * error.square().mean()}

    def _code_terms(self, ws: Tensor) -> dict[str, Tensor]:
        """Equation 1 and L_delta."""
        p, terms = self.settings, {}
        if p.lambda_delta:
            terms["delta"] = p.lambda_delta * losses.layer_spread(ws, p.squared)
        if p.lambda_w and self.w_avg is not None:
            terms["w"] = p.lambda_w * losses.latent_distance(ws, self.w_avg, p.squared)
        return terms
