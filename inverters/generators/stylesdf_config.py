"""The architecture of a StyleSDF generator as one frozen value; defaults are those of FFHQ 1024."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class StyleSDFConfig:
    """Everything that determines the shapes and the arithmetic of a StyleSDF generator.

    Raises ValueError where sizes do not fit together.
    """

    style_dim: int = 256
    """Width of z and of a row of the renderer's code."""
    mapping_layers: int = 3
    depth: int = 8
    """Sine layers before the density; one more follows for the colour."""
    width: int = 256
    """Width of the sine layers, and channels of the rendered features."""
    render_size: int = 64
    """Side of the volume rendering in pixels."""
    samples: int = 24
    """Samples along a ray, the first at `near`, a step of (far - near) / samples apart."""
    near: float = 0.88
    far: float = 1.12
    """Limits of the samples in world units; the camera's distance from the origin is 1."""
    half_fov: float = math.radians(6.0)
    """Half of the field of view in radians."""
    size: int = 1024
    """Side of the decoder's picture in pixels."""
    decoder_dim: int = 512
    """Width of a row of the decoder's code."""
    decoder_mapping_layers: int = 5
    channel_base: int = 32768
    channel_max: int = 512
    """The decoder has min(channel_base // R, channel_max) channels at resolution R."""

    def __post_init__(self) -> None:
        factor = self.size / self.render_size
        if factor < 1 or not math.log2(factor).is_integer():
            raise ValueError(
                f"the picture's side {self.size} is no power of two times the rendering's {self.render_size}"
            )

    @property
    def renderer_rows(self) -> int:
        """Rows of the renderer's code: one a sine layer. Only the last one does not change the density."""
        return self.depth + 1

    @property
    def stages(self) -> int:
        """Doublings of the picture in the decoder."""
        return int(math.log2(self.size // self.render_size))

    @property
    def decoder_rows(self) -> int:
        """Rows of the decoder's code: 10 from 64 to 1024."""
        return 2 * self.stages + 2

    @property
    def point_scale(self) -> float:
        """Factor from world units to the network's: 2 / (far - near)."""
        return 2 / (self.far - self.near)

    def channels(self, resolution: int) -> int:
        """Channels of the decoder at this resolution."""
        return min(self.channel_base // resolution, self.channel_max)
