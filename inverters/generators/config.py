"""The architecture of a generator as one frozen value; defaults are those of EG3D's FFHQ 512-128."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from inverters.errors import CheckpointError

PlaneAxes = Literal["original", "fixed"]
SuperresolutionKind = Literal["8XDC", "8X", "4X", "2X", "small4x", "small2x"]


@dataclass(frozen=True)
class GeneratorConfig:
    """Everything that determines the shapes and the arithmetic of a tri-plane generator."""

    z_dim: int = 512
    w_dim: int = 512
    c_dim: int = 25
    """Length of the camera label that conditions the mapping; 0: none."""
    mapping_layers: int = 2
    mapping_features: int = 512
    """Width of the hidden layers of the mapping."""
    channel_base: int = 32768
    channel_max: int = 512
    """A backbone block of resolution R has min(channel_base // R, channel_max) channels."""
    conv_clamp: float | None = None
    """Bound on the activations of the backbone."""
    plane_resolution: int = 256
    plane_channels: int = 32
    plane_axes: PlaneAxes = "original"
    """`original`: xy, xz, zx (the released models); `fixed`: xy, yz, zx."""
    img_resolution: int = 512
    neural_rendering_resolution: int = 128
    feature_channels: int = 32
    """Colour features per sample; the first three are the raw image."""
    decoder_hidden: int = 64
    decoder_lr_mul: float = 1.0
    superresolution: SuperresolutionKind = "8XDC"
    sr_channels: tuple[int, int] = (64, 32)
    """Output channels of the two blocks of `small4x` and `small2x`; fixed for the official kinds."""
    sr_antialias: bool = True
    sr_conv_clamp: float | None = 256.0
    ray_start: float = 2.25
    ray_end: float = 3.3
    """Limits of the samples along a unit ray, in world units."""
    depth_resolution: int = 48
    depth_resolution_importance: int = 48
    box_warp: float = 1.0
    """Side of the cube that the planes cover, in world units."""
    white_back: bool = False
    c_scale: float = 1.0
    c_gen_conditioning_zero: bool = False
    camera_radius: float = 2.7
    camera_pivot: tuple[float, float, float] = (0.0, 0.0, 0.2)
    camera_focal: float = 4.2647

    @property
    def num_ws(self) -> int:
        """Rows of w: 14 for planes of 256, 12 for 128."""
        return 2 * int(math.log2(self.plane_resolution)) - 2

    @property
    def widths(self) -> tuple[int, int, int]:
        """Channels, hidden units and colours of the field, for which the compiled renderer must be built."""
        return self.plane_channels, self.decoder_hidden, self.feature_channels

    def channels(self, resolution: int) -> int:
        """Channels of the backbone block of this resolution."""
        return min(self.channel_base // resolution, self.channel_max)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GeneratorConfig:
        """The inverse of `to_dict`.

        Raises:
            CheckpointError: a name is not a field, or a value is of another kind or size.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise CheckpointError(
                f"the generator's configuration has unknown entries: {', '.join(unknown)[:200]}"
            )
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**plain).checked()

    def checked(self) -> GeneratorConfig:
        """This configuration, read from a file.

        Raises:
            CheckpointError: a value is of another kind than its field, or beyond any generator's.
        """
        for field in dataclasses.fields(self):
            if not _fits(field.name, field.default, getattr(self, field.name)):
                shown = repr(getattr(self, field.name))[:_MOST_SHOWN]
                raise CheckpointError(f"the generator's configuration has {field.name} = {shown}")
        return self


_MOST_SHOWN = 40
_MOST_WHOLE, _MOST_FLOAT = 1 << 16, 1e6
_MOST = {"mapping_layers": 64, "channel_base": 1 << 20, "depth_resolution": 4096}
_MOST |= {"depth_resolution_importance": 4096, "img_resolution": 4096, "neural_rendering_resolution": 4096}
_NONE_TOO = ("conv_clamp", "sr_conv_clamp")
_MAY_BE_ZERO = ("c_dim", "depth_resolution_importance")
_CHOICES: dict[str, tuple[Any, ...]] = {
    "plane_axes": get_args(PlaneAxes),
    "superresolution": get_args(SuperresolutionKind),
    "plane_resolution": tuple(1 << k for k in range(2, 12)),
}


def _fits(name: str, default: Any, value: Any) -> bool:
    """Whether a value is of its field's kind and of a size that a generator can have."""
    if name in _CHOICES:
        return any(type(value) is type(one) and value == one for one in _CHOICES[name])
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, tuple):
        same = isinstance(value, tuple) and len(value) == len(default)
        return same and all(_fits("", a, b) for a, b in zip(default, value, strict=True))
    if value is None:
        return name in _NONE_TOO
    if isinstance(default, int):
        least = 0 if name in _MAY_BE_ZERO else 1
        return type(value) is int and least <= value <= _MOST.get(name, _MOST_WHOLE)
    return type(value) in (int, float) and abs(value) <= _MOST_FLOAT
