"""The out-of-distribution field of In-N-Out: a tri-plane, a decoder, and one code a frame (section 4.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from inverters.rendering.reference import OODField

PHI_DIM = 32
HIDDEN = 64


@dataclass(frozen=True)
class OODInit:
    """How a fresh field begins: plane side, spread of planes and phi, and what the decoder first says.

    The paper draws planes and phi from a standard normal and leaves the biases at zero. A blend that begins
    low (negative `blend_bias`) lets the face stand until it is contradicted.
    """

    resolution: int = 256
    plane_std: float = 1.0
    phi_std: float = 1.0
    blend_bias: float = 0.0
    density_bias: float = 0.0


def initial_field(
    init: OODInit, channels: int, colours: int, frames: int, rng: torch.Generator
) -> dict[str, Tensor]:
    """Fresh tensors of the field: planes [1,3,C,R,R], phi [frames,32], decoder weights and biases by name.

    The decoder is EG3D's with 2 x 32 inputs (Twizwei/in-n-out): C+32 -> 64, softplus, 64 -> 1 + colours + 1.
    """
    r = init.resolution
    inputs, outputs = channels + PHI_DIM, 1 + colours + 1
    bias = torch.zeros(outputs)
    bias[0], bias[-1] = init.density_bias, init.blend_bias
    return {
        "planes": torch.randn(1, 3, channels, r, r, generator=rng) * init.plane_std,
        "phi": torch.randn(frames, PHI_DIM, generator=rng) * init.phi_std,
        "decoder.net.0.weight": torch.randn(HIDDEN, inputs, generator=rng),
        "decoder.net.0.bias": torch.zeros(HIDDEN),
        "decoder.net.2.weight": torch.randn(outputs, HIDDEN, generator=rng),
        "decoder.net.2.bias": bias,
    }


DECODER_NAMES = ("decoder.net.0.weight", "decoder.net.0.bias", "decoder.net.2.weight", "decoder.net.2.bias")


def ood_field(tensors: dict[str, Tensor], colours: int | None = None) -> OODField:
    """The field that these tensors describe, for `render_rays`; gradients reach the tensors.

    `colours` limits it to the first so many colour channels; None gives all.
    """

    def decoder(features: Tensor, phi: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Features [N,M,C] and phi [N,32] to raw density [N,M], colours [N,M,K], blend [N,M] in (0,1)."""
        if phi is None:
            raise ValueError("the out-of-distribution decoder needs the frames' codes phi [N,32]")
        return decode(tensors, features, phi, colours)

    return OODField(tensors["planes"], decoder)


def decode(
    tensors: dict[str, Tensor], features: Tensor, phi: Tensor, colours: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """D^O of equation 2: (T^O(t_k), phi_t) to density, colour and blend.

    phi is concatenated to the features; its share of the first layer is the same at every point of a frame,
    so it is computed once a frame and added, which is the same sum in another order.
    """
    weight, bias = tensors["decoder.net.0.weight"], tensors["decoder.net.0.bias"]
    channels = features.shape[-1]
    gain = weight.shape[1] ** -0.5  # equalised learning rate, as EG3D's layers
    of_frame = F.linear(phi, weight[:, channels:] * gain, bias)
    hidden = F.softplus(F.linear(features, weight[:, :channels] * gain) + of_frame[:, None])
    last, shift = tensors["decoder.net.2.weight"], tensors["decoder.net.2.bias"]
    if colours is not None:
        wanted = torch.tensor([*range(1 + colours), len(last) - 1], device=last.device)
        last, shift = last[wanted], shift[wanted]
    out = F.linear(hidden, last * last.shape[1] ** -0.5, shift)
    # Colours overshoot [0,1] a little as in EG3D; the blend is a plain sigmoid (released code).
    return out[..., 0], torch.sigmoid(out[..., 1:-1]) * 1.002 - 0.001, torch.sigmoid(out[..., -1])
