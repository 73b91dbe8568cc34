"""The latent spaces that codes can be fitted in, and the maths of the bounded ones.

Katsumata et al. 2024, "Revisiting Latent Space of GAN Inversion for Robust Real Image Editing".
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from inverters.encoders.feature_offsets import FeatureOffsets
from inverters.encoders.goae import Cameras
from inverters.encoders.plane_offsets import PlaneOffsets
from inverters.errors import UnknownNameError
from inverters.generators.layers import Noise

Skip = Literal["kept", "dropped"]
"""The tri-plane that the layers up to a base code made from w: `kept` and gone on with (GOAE), or `dropped`
(the StyleGAN2 code of Z+).
"""
MOST_BLOCK = 32
"""Resolution of the base code's layer where the space names none, or half of the planes' if that is less."""


@dataclass(frozen=True)
class Space:
    """A latent space of a generator."""

    name: str
    codes: Literal["z", "w", "s"]
    """What the codes are: z, w, or offsets of the backbone's styles."""
    layered: bool
    """A code for each layer; False: one for all."""
    normalised: bool = False
    """With the penalty of P_N (`p_space`)."""
    base: bool = False
    """With a base code f: features of a layer, in place of those that the layers up to it make."""
    block: int = 0
    """Resolution of that layer; 0: see MOST_BLOCK."""

    @property
    def family(self) -> str:
        """Name of the space without the layer of its base code, as in SPACES."""
        return re.sub(r"^f[0-9]+/", "f/", self.name)

    @property
    def bounded(self) -> bool:
        """Whether codes lie on the sphere of random z."""
        return self.codes == "z"

    def block_of(self, generator: Any) -> int:
        """Return the resolution of the base code's layer in a generator.

        Raises:
            UnknownNameError: it has no such layer, or none after it.
        """
        block = self.block or min(MOST_BLOCK, generator.config.plane_resolution // 2)
        generator.backbone.synthesis.after(block)
        return block


_PLAIN = (
    Space("z", "z", layered=False),
    Space("z+", "z", layered=True),
    Space("w", "w", layered=False),
    Space("w+", "w", layered=True),
    Space("p_n+", "w", layered=True, normalised=True),
    Space("s", "s", layered=True),
)
SPACES = {space.name: space for space in _PLAIN} | {
    f"f/{space.name}": replace(space, name=f"f/{space.name}", base=True) for space in _PLAIN
}
"""Every space by its name. `f16/z+` is `f/z+` with the base code at the layer of resolution 16."""
PLAIN = tuple(space.name for space in _PLAIN)
"""Names of those without a base code."""


def find_space(name: str) -> Space:
    """Return the space of this name; raises UnknownNameError, which lists those that exist."""
    layer = re.match(r"f([1-9][0-9]{0,3})/", name)
    found = SPACES.get(name if layer is None else f"f{name[layer.end() - 1 :]}")
    if found is None:
        known = ", ".join(SPACES)
        raise UnknownNameError(f"unknown latent space '{name[:40]}'; known: {known} (or f16/... for a layer)")
    return found if layer is None else replace(found, name=name, block=int(layer[1]))


def retracted(z: Tensor) -> Tensor:
    """Scale codes [...,D] to the sphere of radius sqrt(D) (equation 5); a zero code stays zero.

    Random z lie near this sphere, and the mapping sees the direction of z alone.
    """
    # Divided by the largest entry first, so that no square overflows or vanishes.
    largest = z.detach().abs().amax(-1, keepdim=True)
    z = z / largest.where(largest > 0, 1.0)
    return z * (math.sqrt(z.shape[-1]) / z.norm(dim=-1, keepdim=True).clamp_min(0.5))


def moved(z: Tensor, offset: Tensor) -> Tensor:
    """Move codes [...,D] on the sphere by `offset`, which broadcasts, and retract them (section 3.3)."""
    return retracted(z + offset)


def along_arc(z: Tensor, offset: Tensor) -> Tensor:
    """Move codes [...,D] on the sphere by many small parts of `offset`, which broadcasts, each retracted.

    The closed form of InterfaceGAN's edit in Z+ (release: 1,000 steps): codes go along the great circle
    towards the offset's direction n. With theta their angle and R = sqrt(D), tan(theta/2) falls by
    exp(-|offset|/R), so that no strength takes them past n.
    """
    z, offset = torch.broadcast_tensors(z, offset)
    x, radius = retracted(z.double()), math.sqrt(z.shape[-1])
    length = offset.double().norm(dim=-1, keepdim=True)
    n = offset.double() / length.where(length > 0, 1.0)
    cosine = (x * n).sum(-1, keepdim=True) / radius
    fall = (-length / radius).exp().clamp_min(1e-60)  # its square is above zero
    # tan^2(theta/2) = (1 - cosine)/(1 + cosine), without its division
    near, far = 1 + cosine, (1 - cosine) * fall.square()
    whole = near + far
    beside = (x - radius * cosine * n) * (2 * fall / whole)
    return retracted(radius * (near - far) / whole * n + beside).to(z)


def mapped_rows(generator: Any, z: Tensor, label: Tensor | None = None) -> Tensor:
    """Map each row of z [N,L,z_dim] by itself to w [N,L,w_dim].

    `label` [1 or N,c_dim] conditions all rows of a code; None: the frontal camera.
    """
    if label is not None:
        label = label.expand(len(z), -1).repeat_interleave(z.shape[1], 0)
    ws: Tensor = generator.mapping(z.flatten(0, 1), label)[:, 0]
    return ws.unflatten(0, z.shape[:2])


@dataclass(frozen=True)
class LayerCodes:
    """What the planes of N codes are made of beside w; None of it in the spaces of w and z."""

    features: Tensor | None = None
    """Base codes [N,F,r,r], after the block of resolution r."""
    styles: Tensor | None = None
    """Offsets of the backbone's styles [N,num_styles]."""
    skip: Skip = "kept"
    offsets: Mapping[int, Tensor] = field(default_factory=dict)
    """Offsets of features [N,F,b,b] after the blocks of resolution b (SAM), in place of base codes."""
    plane_offsets: PlaneOffsets | None = None
    """Offsets of the planes (TriPlaneNet); an edit of the codes leaves them as they are."""
    aligned: FeatureOffsets | None = None
    """Refined features (GOAE), in place of base codes; they follow an edit of the codes."""

    @classmethod
    def of(cls, latent: Mapping[str, Tensor], info: Mapping[str, Any], device: Any = None) -> LayerCodes:
        """Return what an inversion's `latent` and `info` hold."""
        found = {name: latent[name].to(device) for name in ("features", "styles") if name in latent}
        offsets = {
            int(name.removeprefix("offset")): tensor.to(device)
            for name, tensor in latent.items()
            if name.startswith("offset")
        }
        skip = info.get("skip", "kept")
        return cls(found.get("features"), found.get("styles"), skip=skip, offsets=offsets)

    def at(self, rows: Tensor) -> LayerCodes:
        """Return that of some codes."""
        features = None if self.features is None else self.features[rows]
        styles = None if self.styles is None else self.styles[rows]
        offsets = {block: tensor[rows] for block, tensor in self.offsets.items()}
        of_planes = None if self.plane_offsets is None else self.plane_offsets.at(rows)
        aligned = None if self.aligned is None else self.aligned.at(rows)
        return LayerCodes(features, styles, self.skip, offsets, of_planes, aligned)

    def following(self, generator: Any, began: Tensor, ws: Tensor, noise: Noise = "const") -> LayerCodes:
        """Return them with base codes that follow an edit from `began` to ws [N,num_ws,w_dim].

        F + (F(ws) - F(began)), with F(w) the features of w at the layer (GOAE, equation 9).
        """
        if self.features is None:
            return self
        block = self.features.shape[-1]
        before, after = (generator.features_at(w, block, noise, self.styles)[0] for w in (began, ws))
        return replace(self, features=self.features + (after - before))

    def planes(
        self, generator: Any, ws: Tensor, noise: Noise = "const", view: Cameras | None = None
    ) -> Tensor:
        """Return the planes [N,3,C,R,R] of these codes and ws [N,num_ws,w_dim].

        `view`: the cameras that will see them, for refined features; None: those of the input.
        """
        if self.aligned is not None:
            return self.aligned.planes(generator, ws, view, noise)
        planes = self._before_offsets(generator, ws, noise)
        return planes if self.plane_offsets is None else planes + self.plane_offsets.make(generator)

    def _before_offsets(self, generator: Any, ws: Tensor, noise: Noise) -> Tensor:
        planes: Tensor
        if self.offsets:
            return self._with_offsets(generator, ws, noise)
        if self.features is None:
            planes = generator.planes(ws, noise, self.styles)
            return planes
        block, skip = self.features.shape[-1], None
        if self.skip == "kept":
            skip = generator.features_at(ws, block, noise, self.styles)[1]
        planes = generator.planes_from(self.features, skip, ws, block, noise, self.styles)
        return planes

    def _with_offsets(self, generator: Any, ws: Tensor, noise: Noise) -> Tensor:
        """Planes of features with an offset after some blocks."""
        synthesis, first = generator.backbone.synthesis, 0
        x: Tensor | None = None
        stacked: Tensor | None = None
        for block, offset in sorted(self.offsets.items()):
            later = synthesis.after(block)
            x, stacked = synthesis.run(ws, range(first, later.start), noise, x, stacked, self.styles)
            x, first = x + offset, later.start
        whole: Tensor = synthesis.run(ws, later, noise, x, stacked, self.styles)[1]
        return whole.reshape(len(ws), 3, generator.config.plane_channels, *whole.shape[2:])


NO_LAYER_CODES = LayerCodes()
"""Codes of w alone."""
