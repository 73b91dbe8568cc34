"""Fit of the codes of all frames of a clip in a latent space beyond W and W+.

Katsumata et al. 2024, "Revisiting Latent Space of GAN Inversion for Robust Real Image Editing", section 3.3,
for a clip: what the frames share, and what each has beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inverters.encoders.base_code import as_input, encoder_for
from inverters.errors import InverterError
from inverters.fitting.code_settings import CodeSettings
from inverters.fitting.codes import CodeFit, falling, one_layer
from inverters.fitting.latents import SAMPLES, random_z
from inverters.fitting.loop import backward
from inverters.fitting.losses import norms
from inverters.fitting.p_files import known_statistics
from inverters.fitting.p_space import PStatistics
from inverters.fitting.row_adam import DenseAdam, RowAdam
from inverters.fitting.schedules import SCHEDULES
from inverters.fitting.spaces import LayerCodes, find_space, mapped_rows, retracted
from inverters.fitting.targets import Targets, frames_of_step

MOST_BASE = 8 * 2**30
"""Bytes that the base codes of a clip and their moments may take."""


class SpaceFit(CodeFit):
    """Fits the codes of all frames of a problem in any latent space; a stage for `fitting.loop.Run`.

    code_t = offset + ratio * residual_t, in the numbers of the space: rows of z, which are retracted, rows of
    w, or offsets of styles, to which w is fixed. In spaces with f, f_t = base + base_frame_t.
    """

    def __init__(
        self,
        generator: Any,
        targets: Targets,
        settings: CodeSettings,
        steps: int,
        seed: int,
        begin: Tensor | None = None,
        statistics: PStatistics | None = None,
    ) -> None:
        """Set up the fit at its first step.

        Args:
            generator: the generator, fixed.
            targets: the frames and their cameras.
            settings: of the fit; `coordinates`, `candidates`, `sweep` and `pose_turns` are not used.
            steps: number of steps.
            seed: of the random draws.
            begin: rows of z or w, [K,num_ws,z_dim or w_dim], at which the fit begins; None: at the mean w, or
                at the random z whose w is nearest to it.
            statistics: of P_N; None takes those that are known of the generator (`p_files`), where the space
                needs them.

        Raises:
            FingerprintError: the statistics are those of another generator.
            InverterError: the generator has no such layer for a base code, or the base codes of a clip as
                long take too much memory.
        """
        super().__init__(generator, targets, settings, steps, seed)
        self.kind, device = find_space(settings.space), targets.device
        self.statistics = self._statistics(statistics)
        first = self._first(begin)
        # Codes of styles are offsets of those of w, which are fixed.
        self.fixed = first if self.kind.codes == "s" else None
        if self.fixed is not None:
            first = torch.zeros(1, generator.num_styles, device=device)
        offset = first.mean(0)
        offset = retracted(offset) if self.kind.bounded else offset
        self.offset = DenseAdam(offset)
        residual = ((first - offset) / settings.ratio).expand(len(targets), *offset.shape).clone()
        if settings.residual_std:
            residual += settings.residual_std * torch.randn(residual.shape, generator=self.rng).to(device)
        self.residual = RowAdam(residual)
        self.first_base = self._first_base() if self.kind.base else torch.zeros(1, 0, device=device)
        base = self.first_base.mean(0)
        rows = len(targets) if self.kind.base and settings.base_frames else 0
        self.base = DenseAdam(base)
        self.base_frame = RowAdam((self.first_base - base).expand(max(rows, 1), *base.shape)[:rows].clone())

    def _statistics(self, given: PStatistics | None) -> PStatistics | None:
        if not self.kind.normalised:
            return None
        if given is not None:
            given.check_generator(self.generator.card.fingerprint)
        return (given or known_statistics(self.generator)).to(self.targets.device)

    @torch.no_grad()
    def _first(self, begin: Tensor | None) -> Tensor:
        """Rows [1 or K,1 or num_ws,D] of z or w at first."""
        layers = self.generator.num_ws if self.kind.layered else 1
        if begin is not None:
            return (begin if self.kind.layered else one_layer(begin, self.kind.name)).to(self.targets.device)
        if not self.kind.bounded:
            return self.space.w_avg.expand(1, layers, -1)
        z = random_z(self.generator, SAMPLES, torch.Generator().manual_seed(0)).to(self.targets.device)
        far = (self.generator.mapping(z)[:, 0] - self.space.w_avg).square().sum(1)
        return retracted(z[far.argmin()]).expand(1, layers, -1)

    @torch.no_grad()
    def _first_base(self) -> Tensor:
        """Base codes [1 or K,F,r,r] at first: those of an encoder, or those of the first codes."""
        block, file = self.kind.block_of(self.generator), self.settings.base_encoder
        encoder = None if file is None else encoder_for(self.generator, Path(file), block)
        found = []
        for rows in torch.arange(len(self.targets)).split(1):
            if encoder is not None:
                found.append(encoder(as_input(self.targets.image(rows), block)))
            elif found and not self.residual.values.any():
                break
            else:
                code = self._code(self.offset.values[0], self.residual.values[rows])
                found.append(self.generator.features_at(self._ws_of(code, rows), block)[0])
            needed = 16 * found[0].numel() * (len(self.targets) if self.settings.base_frames else 1)
            if needed > MOST_BASE:
                raise InverterError(
                    f"base codes at block {block} take {needed / 2**30:.1f} GiB for {len(self.targets)} "
                    f"frames; take a lower block, such as f{block // 2}/..., or a shorter clip"
                )
        return torch.cat(found).contiguous()

    # State

    def tables(self) -> dict[str, RowAdam]:
        """Codes and base codes, of the clip and of each frame, and the correction of the cameras."""
        return {
            "offset": self.offset,
            "residual": self.residual,
            "base": self.base,
            "base_frame": self.base_frame,
            "pose": self.pose,
        }

    # Codes

    def _code(self, offset: Tensor, residual: Tensor) -> Tensor:
        """Codes [n,...] in the numbers of the space."""
        code = offset + self.settings.ratio * residual
        return retracted(code) if self.kind.bounded else code

    def _ws_of(self, code: Tensor, rows: Tensor) -> Tensor:
        """Codes [n,num_ws,w_dim] of codes in the space."""
        if self.fixed is not None:
            code = self.fixed[rows] if len(self.fixed) > 1 else self.fixed.expand(len(rows), -1, -1)
        elif self.kind.bounded:
            code = mapped_rows(self.generator, code)
        return code.expand(-1, self.generator.num_ws, -1)

    def _layer_codes(self, code: Tensor, base: Tensor, base_frame: Tensor | None) -> LayerCodes:
        features = None
        if self.kind.base:
            features = base.expand(len(code), *base.shape) if base_frame is None else base + base_frame
        return LayerCodes(features, code if self.kind.codes == "s" else None, self.settings.skip)

    def _codes_of(self, rows: Tensor) -> Tensor:
        return self._code(self.offset.values[0], self.residual.values[rows])

    @torch.no_grad()
    def ws(self, rows: Tensor) -> Tensor:
        """Return the codes [n,num_ws,w_dim] of these rows."""
        return self._ws_of(self._codes_of(rows), rows)

    @torch.no_grad()
    def latent(self) -> dict[str, Tensor]:
        """Return what all rows have beside ws, as in `Inversion.latent`."""
        rows = torch.arange(len(self.targets))
        code = self._codes_of(rows)
        if self.kind.bounded:
            found = {"z": code.expand(-1, self.generator.num_ws, -1).contiguous()}
        else:
            found = {"styles": code} if self.kind.codes == "s" else {}
        if self.kind.base:
            own = self.base_frame.values if len(self.base_frame.values) else None
            features = self._layer_codes(code, self.base.values[0], own).features
            assert features is not None
            found["features"] = features.contiguous()
        return found

    # One step

    def step(self, i: int) -> dict[str, Tensor]:
        """Update the frames of step `i` by Adam and retract their codes; return the losses."""
        p = self.settings
        rows = frames_of_step(i, p.frames_per_step, len(self.targets), self.seed)
        offset, residual = self.offset.whole(), self.residual.leaf(rows)
        base = self.base.whole()
        own = self.base_frame.leaf(rows) if len(self.base_frame.values) else None
        pixels = self._pixels(rows)
        knots = self.pose.knots(rows)
        pose = self.pose.leaf(knots) if p.pose_rate else None

        def losses_of(part: slice) -> dict[str, Tensor]:
            code = self._code(offset, residual[part])
            ws = self._ws_of(code, rows[part])
            layer_codes = self._layer_codes(code, base, None if own is None else own[part])
            turned = None if pose is None else self.pose.poses(rows[part], knots, pose)
            terms = self._seen_terms(i, rows[part], ws, pixels[part], turned, layer_codes)
            return terms | self._regularisers(i, rows[part], residual[part], ws, layer_codes)

        found = backward(len(rows), self.targets.device, losses_of)
        factor = SCHEDULES[p.schedule](i, self.steps)
        if p.shared:
            self.offset.update(offset, p.rate * factor)
        self.residual.step(rows, residual.grad, p.rate * factor)
        if p.shared or own is None:
            self.base.update(base, p.base_rate * factor)
        if own is not None:
            self.base_frame.step(rows, own.grad, p.base_rate * factor)
        if pose is not None:
            self.pose.step(knots, pose.grad, p.pose_rate * factor)
        if self.kind.bounded:
            self._retract(rows)
        return found

    def _regularisers(
        self, i: int, rows: Tensor, residual: Tensor, ws: Tensor, layer_codes: LayerCodes
    ) -> dict[str, Tensor]:
        """Losses on codes, each a mean over their rows."""
        p, terms = self.settings, {}
        if p.lambda_residual:
            terms["residual"] = falling(i, *p.lambda_residual) * norms(residual.flatten(1)[:, None]).mean()
        if self.statistics is not None:
            layers = ws if self.kind.layered else ws[:, :1]
            terms["p"] = p.lambda_p * self.statistics.penalty(layers).to(ws)
        if layer_codes.features is not None:
            first = self.first_base[rows] if len(self.first_base) > 1 else self.first_base
            first = first if p.base_frames else self.first_base.mean(0)
            terms["base"] = p.lambda_base * (layer_codes.features - first).square().mean()
        return terms

    @torch.no_grad()
    def _retract(self, rows: Tensor) -> None:
        """Put the clip's code and those of these rows on the sphere (equation 5)."""
        if self.settings.shared:
            self.offset.values.copy_(retracted(self.offset.values))
        code, offset = self._codes_of(rows), self.offset.values[0]
        self.residual.values[rows] = (code - offset) / self.settings.ratio
