"""Fit of codes with offsets of features, each within its segments (SAM)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from inverters.errors import UnknownNameError
from inverters.fitting.code_settings import CodeSettings
from inverters.fitting.row_adam import DenseAdam, RowAdam
from inverters.fitting.schedules import SCHEDULES
from inverters.fitting.space_fit import SpaceFit
from inverters.fitting.spaces import LayerCodes
from inverters.fitting.targets import Targets


class SegmentFit(SpaceFit):
    """Fits codes in a space and, at some layers, an offset of their features; a stage for `fitting.loop.Run`.

    x_b = x_b(w) + mask_b * offset_b after the block of resolution b, the same for all frames.
    """

    def __init__(
        self,
        generator: Any,
        targets: Targets,
        settings: CodeSettings,
        steps: int,
        seed: int,
        begin: Tensor,
        masks: Mapping[int, Tensor],
        name: str,
    ) -> None:
        """Set up the fit at its first step, where all offsets are zero.

        Args:
            generator: the generator, fixed.
            targets: the frames and their cameras.
            settings: of the fit. `base_rate` is the rate of the offsets, `lambda_base` the weight of their
                mean square.
            steps: number of steps.
            seed: of the random draws.
            begin: as in SpaceFit.
            masks: [1,b,b] in [0,1] by the resolution b of a block.
            name: of the stage.
        """
        super().__init__(generator, targets, settings, steps, seed, begin)
        self.name, self.masks = name, {block: mask.to(targets.device) for block, mask in masks.items()}
        with torch.no_grad():
            ws = self.ws(torch.arange(1))
            widths = {block: generator.features_at(ws, block)[0].shape[1] for block in masks}
        self.offsets = {
            block: DenseAdam(torch.zeros(width, block, block, device=targets.device))
            for block, width in widths.items()
        }
        self.leaves: dict[int, Tensor] = {}

    def tables(self) -> dict[str, RowAdam]:
        """Those of SpaceFit, and the offsets."""
        return super().tables() | {f"offset{block}": table for block, table in self.offsets.items()}

    def _masked(self) -> dict[int, Tensor]:
        """Offsets [F,b,b] within their masks; leaves of the step that runs, else the values."""
        return {
            block: mask * self.leaves.get(block, self.offsets[block].values[0])
            for block, mask in self.masks.items()
        }

    def _layer_codes(self, code: Tensor, base: Tensor, base_frame: Tensor | None) -> LayerCodes:
        found = super()._layer_codes(code, base, base_frame)
        own = {block: offset.expand(len(code), -1, -1, -1) for block, offset in self._masked().items()}
        return replace(found, offsets=own)

    def layer_codes(self) -> LayerCodes:
        """Return the offsets of all rows."""
        return LayerCodes.of(self.latent(), {})

    @torch.no_grad()
    def latent(self) -> dict[str, Tensor]:
        """Return what all rows have beside ws, as in `Inversion.latent`."""
        count = len(self.targets)
        own = {f"offset{block}": offset.expand(count, -1, -1, -1) for block, offset in self._masked().items()}
        return super().latent() | {name: offset.contiguous() for name, offset in own.items()}

    def step(self, i: int) -> dict[str, Tensor]:
        """Update codes and offsets by Adam; return the losses."""
        self.leaves = {block: table.whole() for block, table in self.offsets.items()}
        found = super().step(i)
        rate = self.settings.base_rate * SCHEDULES[self.settings.schedule](i, self.steps)
        for block, table in self.offsets.items():
            table.update(self.leaves[block], rate)
        self.leaves = {}
        return found

    def _regularisers(
        self, i: int, rows: Tensor, residual: Tensor, ws: Tensor, layer_codes: LayerCodes
    ) -> dict[str, Tensor]:
        terms = super()._regularisers(i, rows, residual, ws, layer_codes)
        if self.masks:
            squares = [offset.square().mean() for offset in self._masked().values()]
            terms["offset"] = self.settings.lambda_base * torch.stack(squares).sum()
        return terms


def blocks_of(generator: Any, wanted: tuple[int, ...]) -> tuple[int, ...]:
    """Return those of the wanted blocks that a generator has, with a block after them.

    Raises:
        UnknownNameError: it has none of them.
    """
    known = [int(name[1:]) for name in generator.backbone.synthesis.names[:-1]]
    found = tuple(block for block in sorted(wanted) if block in known)
    if not found:
        raise UnknownNameError(
            f"the backbone has none of the blocks {', '.join(map(str, wanted))} before its last; it has "
            f"{', '.join(map(str, known))}"
        )
    return found
