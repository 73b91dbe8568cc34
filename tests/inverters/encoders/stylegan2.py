"""A small StyleGAN2 with the names of the golden Z+ network; it stands for the 2D generators of the paper."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from inverters.generators.layers import demodulation, modulated_conv, scaled_lrelu, upsample2


class StyleGAN2:
    """Mapping and synthesis from a dictionary of tensors."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = tensors
        self.blocks = sum(name.startswith("synthesis.output") for name in tensors) // 4

    def mapping(self, z: Tensor) -> Tensor:
        """Map z [N,512] to w [N,512]."""
        x = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
        for k in range(8):
            weight, bias = (self.tensors[f"mapping.dense{k}.{name}"] for name in ("weight", "bias"))
            x = scaled_lrelu(F.linear(x, weight * (0.01 / math.sqrt(weight.shape[1])), bias * 0.01))
        return x

    def truncated(self, w: Tensor, psi: float, rows: int) -> Tensor:
        """Codes [N,L,512], the first so many rows pulled towards the mean."""
        mean = self.tensors["truncation.w_avg"]
        return torch.cat([mean + psi * (w[:, :rows] - mean), w[:, rows:]], 1)

    def style(self, name: str, w: Tensor) -> Tensor:
        weight = self.tensors[f"{name}.style.weight"]
        return F.linear(w, weight / math.sqrt(weight.shape[1]), self.tensors[f"{name}.style.bias"] + 1)

    def layer(self, k: int, x: Tensor, w: Tensor) -> Tensor:
        """Convolution `k`, which doubles the size if `k` is odd."""
        name = f"synthesis.layer{k}"
        weight, styles = self.tensors[f"{name}.weight"], self.style(name, w)
        weight = weight / math.sqrt(weight[0].numel())
        weight = weight.flip(2, 3) if k % 2 else weight  # a true convolution where EG3D's is a correlation
        x = modulated_conv(x, weight, styles, up=k % 2 == 1) * demodulation(weight, styles)[:, :, None, None]
        x = x + self.tensors[f"{name}.noise"] * self.tensors[f"{name}.noise_strength"]
        return scaled_lrelu(x + self.tensors[f"{name}.bias"][:, None, None])

    def output(self, block: int, x: Tensor, w: Tensor) -> Tensor:
        name = f"synthesis.output{block}"
        weight = self.tensors[f"{name}.weight"]
        weight = weight / math.sqrt(weight[0].numel())
        return modulated_conv(x, weight, self.style(name, w), bias=self.tensors[f"{name}.bias"])

    def synthesis(self, wp: Tensor, base: Tensor | None = None, at: int = 3) -> tuple[Tensor, Tensor]:
        """Image of codes [N,L,512], and the activation of convolution `at`.

        A base code takes the place of that activation, and the image accumulated below it is dropped.
        """
        x = self.tensors["synthesis.early_layer.const"].expand(len(wp), -1, -1, -1)
        image: Tensor | None = None
        kept = x
        for k in range(2 * self.blocks - 1):
            x = self.layer(k, x, wp[:, k])
            if k == at:
                kept = x
                if base is not None:
                    x, image = base, None
            if k % 2 == 0:
                shown = self.output(k // 2, x, wp[:, k + 1])
                image = shown if image is None else shown + upsample2(image)
        assert image is not None
        return image, kept
