"""e4e: pSp's network, of which the rows after the first are small offsets from it.

Tov et al. 2021, "Designing an Encoder for StyleGAN Image Manipulation". Names of tensors are those of the
public files, and the same as pSp's.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from inverters.encoders.psp import GradualStyleEncoder


class Encoder4Editing(GradualStyleEncoder):
    """e4e's encoder: row 0 is one w, and row k is row 0 plus the network k's output."""

    released_as: ClassVar[tuple[str, ...]] = ("Encoder4Editing",)

    def forward(self, x: Tensor, stage: int | None = None) -> Tensor:
        """Map pictures [N,3,S,S] in [-1,1] to offsets [N,num_ws,w_dim] from the mean w.

        Training goes in stages: in stage s the rows 1 to s have offsets of their own, the others equal row 0.
        None is the last stage, with all of them.
        """
        last = self.config.num_ws - 1 if stage is None else min(stage, self.config.num_ws - 1)
        if last < 0:
            raise ValueError(f"there is no stage {stage}; the first is 0")
        first, *others = self.rows(x, last)
        same = [torch.zeros_like(first)] * (self.config.num_ws - 1 - last)
        return first[:, None] + torch.stack([torch.zeros_like(first), *others, *same], dim=1)
