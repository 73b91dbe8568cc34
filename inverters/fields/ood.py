"""The out-of-distribution field of In-N-Out: a tri-plane, a decoder, and one code a frame (section 4.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from inverters.rendering.fields import Decoder, Field
from inverters.rendering.planes import texels_last

PHI_DIM = 32
"""Length of a frame's code phi."""
HIDDEN = 64
"""Hidden units of the decoder."""


@dataclass(frozen=True)
class OODInit:
    """Initialisation of a field: side of the planes, spread of planes and phi, biases of the decoder.

    The paper draws planes and phi from a standard normal and sets the biases to zero. With a negative
    `blend_bias` the generator's face dominates at first.
    """

    resolution: int = 256
    plane_std: float = 1.0
    phi_std: float = 1.0
    blend_bias: float = 0.0
    density_bias: float = 0.0


def initial_field(
    init: OODInit, channels: int, colours: int, frames: int, rng: torch.Generator
) -> dict[str, Tensor]:
    """Draw a new field: planes [1,3,C,R,R], phi [frames,32], weights and biases of the decoder, by name.

    The decoder is EG3D's with 2 x 32 inputs (Twizwei/in-n-out): C+32 -> 64, softplus, 64 -> 1 + colours + 1.
    """
    r = init.resolution
    inputs, outputs = channels + PHI_DIM, 1 + colours + 1
    bias = torch.zeros(outputs)
    bias[0], bias[-1] = init.density_bias, init.blend_bias
    return {
        "planes": texels_last(torch.randn(1, 3, channels, r, r, generator=rng) * init.plane_std),
        "phi": torch.randn(frames, PHI_DIM, generator=rng) * init.phi_std,
        "decoder.net.0.weight": torch.randn(HIDDEN, inputs, generator=rng),
        "decoder.net.0.bias": torch.zeros(HIDDEN),
        "decoder.net.2.weight": torch.randn(outputs, HIDDEN, generator=rng),
        "decoder.net.2.bias": bias,
    }


def resumed_field(ood: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a copy of a field's tensors (`Inversion.ood`) in the layout of `initial_field`."""
    copied = {name: tensor.clone() for name, tensor in ood.items()}
    return copied | {"planes": texels_last(copied["planes"])}


DECODER_NAMES = ("decoder.net.0.weight", "decoder.net.0.bias", "decoder.net.2.weight", "decoder.net.2.bias")


def ood_field(tensors: dict[str, Tensor], phi: Tensor, colours: int | None = None) -> Field:
    """Return the field of these tensors for the codes of N frames; differentiable in all of them.

    D^O of equation 2 takes phi beside the features. Its share of the first layer is the same at every point
    of a frame, so it is added to that frame's bias.

    Args:
        tensors: as from `initial_field`, without `phi`.
        phi: codes of the frames, [N,32].
        colours: limit to the first so many colour channels; None gives all.
    """
    planes, weight = tensors["planes"], tensors["decoder.net.0.weight"]
    last, shift = tensors["decoder.net.2.weight"], tensors["decoder.net.2.bias"]
    channels = planes.shape[2]
    gain = weight.shape[1] ** -0.5  # equalised learning rate, as in EG3D's layers
    if colours is not None:
        wanted = torch.tensor([*range(1 + colours), len(last) - 1], device=last.device)
        last, shift = last[wanted], shift[wanted]
    decoder = Decoder(
        weight[:, :channels] * gain,
        F.linear(phi, weight[:, channels:] * gain, tensors["decoder.net.0.bias"]),
        last * last.shape[1] ** -0.5,
        shift,
    )
    return Field(planes, decoder)


def composite_for_sr(features: Tensor) -> Tensor:
    """Return composite features [n,C,h,w] with the raw image (channels 0 to 2) clamped to [-1,1].

    The release feeds these to super-resolution. With transmittance `product` the weights may add up to more
    than one where the blend is undecided.
    """
    return torch.cat([features[:, :3].clamp(-1, 1), features[:, 3:]], dim=1)
