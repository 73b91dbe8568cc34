"""TriPlaneNet: pSp's w+, then offsets of its tri-plane from the picture and what it differs by from that.

Bhattarai et al. 2023, "TriPlaneNet: An Encoder for EG3D Inversion" (v1), and the later networks of its
release (v2). Names of tensors are those of the public files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inverters.encoders.e4e_mask import E4eMask, E4eMaskConfig, Seen
from inverters.encoders.first_stage import told
from inverters.encoders.irse import Backbone, IrseConfig
from inverters.encoders.loading import mean_code, split
from inverters.encoders.psp import GradualStyleEncoder, PspConfig, released_config
from inverters.errors import CheckpointError, FingerprintError
from inverters.generators.config import GeneratorConfig
from inverters.generators.eg3d import Generator
from inverters.generators.strict_loading import filled, table_with, tensors_of
from inverters.rendering.cameras import mirror
from inverters.rendering.sampling import Sampling

Release = Literal["v1", "v2"]
Upsampling = Literal["shuffle", "nearest"]
Variant = Literal["v1", "v2-shuffle", "v2-nearest"]


@dataclass(frozen=True)
class OffsetConfig:
    """Sizes of the second branch; defaults are the public v1.

    Raises ValueError where they do not fit together.
    """

    release: Release = "v1"
    """`v2` also sees the mirrored picture's difference, and the tri-plane before its head."""
    upsampling: Upsampling = "shuffle"
    """`shuffle`: four channels become 2 x 2 pixels (the paper, v1, v2 by choice); `nearest`: v2's default."""
    last_prelu: bool = True
    """Each step of the decoder ends with two PReLUs, as released; in the paper with one."""
    widths: tuple[int, int, int, int] = (512, 384, 256, 96)
    """Channels after the decoder's steps, coarse to fine."""
    size: int = 256
    """Side of the pictures."""
    plane_resolution: int = 256
    """Side of the planes: that of the pictures or half of it."""
    plane_channels: int = 96
    """Channels of the three planes together."""
    body: tuple[int, int, int, int] = (64, 128, 256, 512)
    """Channels of the backbone's stages."""
    units: tuple[int, int, int, int] = (3, 4, 14, 3)
    """Residual units of the backbone's stages."""

    def __post_init__(self) -> None:
        if self.plane_resolution not in (self.size, self.size // 2) or self.size % 16:
            raise ValueError(
                f"planes of {self.plane_resolution} from pictures of {self.size}: the side of pictures is a "
                "multiple of 16, and that of the planes or twice that"
            )
        if self.upsampling == "shuffle" and any(width % 4 for width in self.widths):
            raise ValueError(f"widths {self.widths} are not multiples of 4, which shuffled pixels need")

    @property
    def backbone(self) -> IrseConfig:
        """The backbone: its stem has three channels for each picture."""
        return IrseConfig(6 if self.release == "v1" else 9, self.body, self.units)

    def enlarged(self, channels: int, factor: int) -> int:
        """Channels of features after they are enlarged by a factor."""
        return channels // factor**2 if self.upsampling == "shuffle" else channels


OFFSETS: dict[Variant, OffsetConfig] = {
    "v1": OffsetConfig(),
    "v2-shuffle": OffsetConfig("v2"),
    "v2-nearest": OffsetConfig("v2", "nearest", widths=(512, 256, 128, 64)),
}
"""The public networks."""


class Step(nn.Module):
    """A step of the decoder: features are enlarged, join those of the backbone, and are convolved twice."""

    def __init__(self, config: OffsetConfig, before: int, skip: int, after: int, factor: int) -> None:
        super().__init__()
        joined = skip + config.enlarged(before, factor)
        layers = [
            nn.BatchNorm2d(joined),
            nn.Conv2d(joined, after, 3, padding=1),
            nn.PReLU(after),
            nn.Conv2d(after, after, 3, padding=1),
            nn.PReLU(after),
            *([nn.PReLU(after)] if config.last_prelu else []),
        ]
        self.enlarge = _enlarging(config, factor)
        self.conv = nn.ModuleDict({"double_conv": nn.Sequential(*layers)})

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Map x [N,I,h,h] and the backbone's features [N,K,f*h,f*h] to [N,O,f*h,f*h]."""
        found: Tensor = self.conv["double_conv"](torch.cat([skip, self.enlarge(x)], dim=1))
        return found


class OffsetEncoder(Backbone):
    """The second branch: a U-Net of which the contracting path is IR-SE-50."""

    def __init__(self, config: OffsetConfig | None = None) -> None:
        self.config = config = config or OffsetConfig()
        super().__init__(config.backbone)
        body, widths = config.body, config.widths
        steps = zip((body[3], *widths), (*body[::-1],), widths, (1, 2, 2, 2))
        for k, (before, skip, after, factor) in enumerate(steps, start=1):
            setattr(self, f"up{k}", Step(config, before, skip, after, factor))
        factor = config.plane_resolution // (config.size // 2)
        self.enlarge = _enlarging(config, factor)
        planes = config.plane_channels
        joined = config.enlarged(widths[3], factor) + (planes if config.release == "v2" else 0)
        head = nn.Sequential(
            nn.Conv2d(joined, planes, 3, padding=1),
            nn.PReLU(planes),
            nn.Conv2d(planes, planes, 3, padding=1),
            nn.PReLU(planes),
            nn.Conv2d(planes, planes, 1),
        )
        self.head_name = "final_head" if config.release == "v1" else "final_head_two"
        self.add_module(self.head_name, head)

    def forward(self, pictures: Tensor, planes: Tensor) -> Tensor:
        """Return offsets [N,3,C,R,R] of planes [N,3,C,R,R] from pictures [N,6 or 9,S,S].

        The pictures are, side by side: the render of the planes, the input minus it and, in v2, the mirrored
        input minus the render from the mirrored camera. v1 does not look at the planes.
        """
        one, two, three, four = self.backbone.ends
        *skips, x = self.taps(pictures, (one, two, three, three + 1, four))
        for k, skip in enumerate(reversed(skips), start=1):
            x = getattr(self, f"up{k}")(x, skip)
        x = self.enlarge(x)
        if self.config.release == "v2":
            x = torch.cat([planes.flatten(1, 2), x], dim=1)
        found: Tensor = getattr(self, self.head_name)(x)
        return found.reshape(planes.shape)


@dataclass(frozen=True)
class TriPlaneNetConfig:
    """Sizes of both branches; defaults are the public v1. Raises ValueError where they differ.

    The first is pSp, or our own `e4e-mask`, which takes pictures of its own size.
    """

    codes: PspConfig | E4eMaskConfig = field(default_factory=lambda: PspConfig(num_ws=14))
    offsets: OffsetConfig = field(default_factory=OffsetConfig)

    def __post_init__(self) -> None:
        if isinstance(self.codes, PspConfig) and self.codes.size != self.offsets.size:
            raise ValueError(f"one branch takes pictures of {self.codes.size}, one of {self.offsets.size}")

    @classmethod
    def sized_for(
        cls, generator: GeneratorConfig, codes: PspConfig, offsets: OffsetConfig
    ) -> TriPlaneNetConfig:
        """Return these sizes, with the rows of w and the planes of a generator.

        Raises ValueError where pictures of `offsets.size` do not suit its planes.
        """
        codes = replace(codes, num_ws=generator.num_ws, w_dim=generator.w_dim)
        side, channels = generator.plane_resolution, 3 * generator.plane_channels
        return cls(codes, replace(offsets, plane_resolution=side, plane_channels=channels))

    def check(self, generator: GeneratorConfig) -> None:
        """Raise FingerprintError unless rows and planes are those of this generator."""
        codes, offsets = self.codes, self.offsets
        own = (codes.num_ws, codes.w_dim, offsets.plane_channels, offsets.plane_resolution)
        its = (generator.num_ws, generator.w_dim, 3 * generator.plane_channels, generator.plane_resolution)
        if own != its:
            raise FingerprintError(
                "TriPlaneNet and generator do not fit: rows of w, their length, channels and side of planes "
                f"are {own} and {its}"
            )


@dataclass(frozen=True)
class Reconstruction:
    """What TriPlaneNet finds for N pictures of side S."""

    codes: Tensor  # w+ [N,num_ws,w_dim]
    planes: Tensor  # of the codes [N,3,C,R,R]
    offset: Tensor  # of the planes [N,3,C,R,R]
    first: Tensor  # [N,3,S,S] render of the planes
    image: Tensor  # [N,3,S,S] render of planes + offset


class TriPlaneNet(nn.Module):
    """Both branches and the mean code; the generator is given to each call."""

    latent_avg: Tensor

    def __init__(self, config: TriPlaneNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or TriPlaneNetConfig()
        codes = config.codes
        self.psp_encoder = E4eMask(codes) if isinstance(codes, E4eMaskConfig) else GradualStyleEncoder(codes)
        self.triplanenet_encoder = OffsetEncoder(config.offsets)
        self.register_buffer("latent_avg", torch.zeros(codes.num_ws, codes.w_dim))

    def forward(
        self,
        generator: Generator,
        pictures: Tensor,
        cam2world: Tensor,
        intrinsics: Tensor,
        passes: int = 0,
        sampling: Sampling | None = None,
    ) -> Reconstruction:
        """Reconstruct pictures [N,3,S,S] in [-1,1], seen by cameras [N,4,4] and [N,3,3].

        No gradient flows from the second branch into the first, nor from its last pass into those before.

        Args:
            generator: the one that the network was trained with.
            pictures: S is `config.codes.size`.
            cam2world: OpenCV axes.
            intrinsics: divided by the picture's size.
            passes: of the paper's cascaded test-time refinement (CTTR), which v2 does not have: offsets are
                predicted anew from the last render, and replace those before. The paper recommends one for
                hard pictures.
            sampling: of the rays; None takes the generator's. The release doubles both counts.

        Raises:
            FingerprintError: the generator has other codes or planes.
            ValueError: a negative number of passes, or any in v2.
        """
        self._check(generator, passes)
        codes = self.told(pictures).offsets + self.latent_avg
        planes = generator.planes(codes)
        view = _View(generator, cam2world, intrinsics, sampling, pictures.shape[-1])
        first = view(codes, planes)
        fixed, kept = codes.detach(), planes.detach()
        looks = self.looks(
            generator, fixed, pictures, cam2world, intrinsics, passes, sampling, first.detach()
        )
        offset = self.triplanenet_encoder(side_by_side(looks), kept)
        return Reconstruction(codes, planes, offset, first, view(fixed, kept + offset))

    def told(self, pictures: Tensor) -> Seen:
        """Return what the first branch tells of pictures [N,3,S,S] in [-1,1], resampled to its size."""
        return told(self.psp_encoder, pictures)

    @torch.no_grad()
    def looks(
        self,
        generator: Generator,
        codes: Tensor,
        pictures: Tensor,
        cam2world: Tensor,
        intrinsics: Tensor,
        passes: int = 0,
        sampling: Sampling | None = None,
        first: Tensor | None = None,
    ) -> Tensor:
        """Return what the second branch looks at, [N,2 or 3,3,S,S].

        It is the render of the codes [N,num_ws,w_dim] or, after `passes`, that of the last offsets; the
        pictures; and in v2 the render from the mirrored cameras. `first` is the first of these, if it is
        known. Other arguments and errors as in `forward`.
        """
        self._check(generator, passes)
        view = _View(generator, cam2world, intrinsics, sampling, pictures.shape[-1])
        planes = generator.planes(codes)
        render = view(codes, planes) if first is None else first
        for _ in range(passes):
            offset = self.triplanenet_encoder(side_by_side(torch.stack([render, pictures], 1)), planes)
            render = view(codes, planes + offset)
        seen = [render, pictures]
        if self.config.offsets.release == "v2":
            seen.append(view.mirrored()(codes, planes))
        return torch.stack(seen, dim=1)

    def _check(self, generator: Generator, passes: int) -> None:
        self.config.check(generator.config)
        if passes < 0 or (passes and self.config.offsets.release == "v2"):
            raise ValueError(f"{passes} passes of cascaded refinement; v2 has none")


@dataclass(frozen=True)
class _View:
    """Renders codes and planes from fixed cameras, averaged down to a side."""

    generator: Generator
    cam2world: Tensor
    intrinsics: Tensor
    sampling: Sampling | None
    size: int

    def __call__(self, codes: Tensor, planes: Tensor) -> Tensor:
        found = self.generator.synthesis(
            codes, self.cam2world, self.intrinsics, sampling=self.sampling, planes=planes
        )
        return F.adaptive_avg_pool2d(found.image, self.size)

    def mirrored(self) -> _View:
        """The view of the mirrored cameras."""
        flip = self.intrinsics.new_tensor([[1, -1, -1], [1, 1, 1], [1, 1, 1]])
        shift = self.intrinsics.new_tensor([[0, 0, 1], [0, 0, 0], [0, 0, 0]])
        intrinsics = self.intrinsics * flip + shift
        return _View(self.generator, mirror(self.cam2world), intrinsics, self.sampling, self.size)


_PARTS = ("psp_encoder.", "triplanenet_encoder.", "decoder.")
"""Prefixes of the weights in a file; the decoder is the generator."""
_ROUNDED = 1e-3
"""Relative difference of a tensor up to which a generator is the same, rounded to float16."""


def load_triplanenet(
    file: object, generator: Generator, latent_avg: object = None, what: str = "the file"
) -> TriPlaneNet:
    """Return the network of a public file, as a safe reader gives it: v1 or v2, told apart by its shapes.

    Args:
        file: table with `state_dict`.
        generator: the one that the network was trained with.
        latent_avg: the mean code [w_dim] or [num_ws,w_dim], which the release stores beside its generator;
            None takes the generator's mean w.
        what: the file's name in messages.

    Raises:
        CheckpointError: the file has other weights.
        FingerprintError: the generator has other codes or planes, or differs from the file's copy of it.
    """
    state = table_with(file, what, "state_dict")["state_dict"]
    codes, offsets, decoder = split(tensors_of(state, what), _PARTS, what)
    config = TriPlaneNetConfig(released_config(codes, what), OFFSETS[_variant(offsets, what)])
    config.check(generator.config)
    _check_generator(decoder, generator, what)
    mean = generator.backbone.mapping.w_avg if latent_avg is None else latent_avg
    size = (config.codes.num_ws, config.codes.w_dim)
    tensors = {f"psp_encoder.{name}": tensor for name, tensor in codes.items()}
    tensors |= {f"triplanenet_encoder.{name}": tensor for name, tensor in offsets.items()}
    tensors["latent_avg"] = mean_code(mean, *size, f"{what}: its mean code")
    return filled(lambda: TriPlaneNet(config), tensors, what)


def _variant(offsets: Mapping[str, Tensor], what: str) -> Variant:
    """The public network that a second branch belongs to, by the shapes in which they differ."""
    stem, second = (
        tuple(offsets[name].shape[:2]) if name in offsets else ()
        for name in ("input_layer.0.weight", "up2.conv.double_conv.1.weight")
    )
    for variant, config in OFFSETS.items():
        if (stem[1:], second[:1]) == ((config.backbone.channels,), config.widths[1:2]):
            return variant
    raise CheckpointError(
        f"{what} has no known second branch: its stem is {list(stem)} and its 'up2' {list(second)}; expected "
        "6 (v1) or 9 channels (v2) and a width of 384 or 256 (v2 with nearest upsampling)"
    )


def _check_generator(decoder: Mapping[str, Tensor], generator: Generator, what: str) -> None:
    """Raise FingerprintError if a file's generator is not this one. A file without one is not checked."""
    for name, own in generator.state_dict().items():
        given = decoder.get(name, own).to(own)
        if given.shape != own.shape or not (given - own).norm() <= _ROUNDED * own.norm():
            raise FingerprintError(
                f"{what} was trained with another generator than '{generator.card.name}': '{name}' differs"
            )


def side_by_side(looks: Tensor) -> Tensor:
    """Return what the second branch is given, [N,6 or 9,S,S], of what it looks at (`TriPlaneNet.looks`)."""
    render, picture = looks[:, 0], looks[:, 1]
    back = [picture.flip(-1) - looks[:, 2]] if looks.shape[1] == 3 else []
    return torch.cat([render, picture - render, *back], dim=1)


def _enlarging(config: OffsetConfig, factor: int) -> nn.Module:
    """The layer that enlarges features by a factor."""
    if config.upsampling == "shuffle":
        return nn.PixelShuffle(factor)
    return nn.Upsample(scale_factor=factor, mode="nearest")
