"""EG3D's generator: mapping, synthesis of tri-planes, decoder, volume rendering, super-resolution.

After "Efficient Geometry-aware 3D Generative Adversarial Networks" (Chan et al. 2022). Names of tensors are
those of the official checkpoints; results are equal up to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from inverters.errors import UnknownNameError
from inverters.generators.card import GeneratorCard
from inverters.generators.config import GeneratorConfig
from inverters.generators.layers import FullyConnected, Noise, SynthesisBlock
from inverters.generators.precision import convolutions
from inverters.generators.superresolution import Superresolution
from inverters.rendering.cameras import intrinsics as focal_intrinsics
from inverters.rendering.cameras import look_at, to_label
from inverters.rendering.fields import Decoder, Field
from inverters.rendering.fused import RayResult, render_rays
from inverters.rendering.planes import mean_features
from inverters.rendering.rays import make_rays
from inverters.rendering.sampling import Sampling


class Mapping(nn.Module):
    """Mapping network: z and camera label to w. Both are normalised, then dense layers with leaky ReLU."""

    w_avg: Tensor
    fc0: FullyConnected

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.num_ws, self.c_scale = config.num_ws, config.c_scale
        self.conditioning_zero = config.c_gen_conditioning_zero
        self.num_layers = config.mapping_layers
        embedded = config.w_dim if config.c_dim else 0
        if config.c_dim:
            self.embed: FullyConnected | None = FullyConnected(config.c_dim, config.w_dim)
        else:
            self.embed = None
        hidden = [config.mapping_features] * (config.mapping_layers - 1)
        widths = [config.z_dim + embedded, *hidden, config.w_dim]
        for k, (i, o) in enumerate(pairwise(widths)):
            setattr(self, f"fc{k}", FullyConnected(i, o, activation="lrelu", lr_mul=0.01))
        self.register_buffer("w_avg", torch.zeros(config.w_dim))

    def forward(
        self, z: Tensor, c: Tensor | None, truncation_psi: float = 1.0, truncation_cutoff: int | None = None
    ) -> Tensor:
        """Map z [N,z_dim] and c [N,c_dim] to ws [N,num_ws,w_dim].

        Rows below `truncation_cutoff` (None: all) are truncated: w_avg + psi (w - w_avg).
        """
        x = _normalized(z)
        if self.embed is not None and c is not None:
            c = torch.zeros_like(c) if self.conditioning_zero else c * self.c_scale
            x = torch.cat([x, _normalized(self.embed(c))], dim=1)
        for k in range(self.num_layers):
            x = getattr(self, f"fc{k}")(x)
        ws = x[:, None].repeat(1, self.num_ws, 1)
        if truncation_psi == 1:
            return ws
        rows = self.num_ws if truncation_cutoff is None else truncation_cutoff
        pulled = self.w_avg + truncation_psi * (ws[:, :rows] - self.w_avg)
        return torch.cat([pulled, ws[:, rows:]], dim=1)


class Synthesis2D(nn.Module):
    """w to the stacked channels of the three planes: blocks b4 ... bR with a skip image."""

    precision = torch.float32
    """Of the convolutions, see `precision`."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        channels, resolution = 0, 4
        self.names: list[str] = []
        while resolution <= config.plane_resolution:
            width = config.channels(resolution)
            block = SynthesisBlock(
                channels, width, config.w_dim, resolution, 3 * config.plane_channels, clamp=config.conv_clamp
            )
            self.names.append(f"b{resolution}")
            setattr(self, self.names[-1], block)
            channels, resolution = width, resolution * 2

    def forward(self, ws: Tensor, noise: Noise = "const", styles: Tensor | None = None) -> Tensor:
        """Map ws [N,num_ws,w_dim] to planes [N,3*C,R,R]. A block's last row is the next block's first."""
        return self.run(ws, range(len(self.names)), noise, styles=styles)[1]

    def run(
        self,
        ws: Tensor,
        blocks: range,
        noise: Noise = "const",
        x: Tensor | None = None,
        image: Tensor | None = None,
        styles: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Run some blocks on ws [N,num_ws,w_dim].

        Args:
            ws: all rows; each block takes its own.
            blocks: their numbers, from 0.
            noise: see `Noise`.
            x: features that the first of them takes; None for block 0.
            image: the stacked planes so far; None for none.
            styles: offsets of all blocks' styles [N,num_styles]; None: none.

        Returns:
            Features and stacked planes [N,3*C,r,r] after the last of the blocks.

        Raises:
            ValueError: there is no block to run.
        """
        offsets = [None] * len(self.names) if styles is None else styles.split(self.style_widths, 1)
        with convolutions(ws, self.precision):
            for k in blocks:
                block = getattr(self, self.names[k])
                row = max(2 * k - 1, 0)
                x, image = block(x, image, ws[:, row : row + block.num_convs + 1], noise, offsets[k])
        if x is None or image is None:
            raise ValueError("a generator needs planes of at least 4 x 4")
        return x.to(ws), image.to(ws)

    @property
    def style_widths(self) -> tuple[int, ...]:
        """Number of styles of each block."""
        return tuple(sum(getattr(self, name).style_widths) for name in self.names)

    def number(self, block: int) -> int:
        """Return the number of the block of a resolution; raises UnknownNameError if there is none."""
        if f"b{block}" not in self.names:
            known = ", ".join(name[1:] for name in self.names)
            raise UnknownNameError(f"the backbone has no block of resolution {block}; it has {known}")
        return self.names.index(f"b{block}")

    def after(self, block: int) -> range:
        """Return the numbers of the blocks after that of a resolution; raises UnknownNameError for none."""
        later = range(self.number(block) + 1, len(self.names))
        if not later:
            raise UnknownNameError(f"the block of resolution {block} is the backbone's last; take an earlier")
        return later


class Backbone(nn.Module):
    """The 2D generator whose image is the tri-plane."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.mapping = Mapping(config)
        self.synthesis = Synthesis2D(config)


class PlaneDecoder(nn.Module):
    """Mean plane feature to raw density and colour features: dense, softplus, dense."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        lr_mul = config.decoder_lr_mul
        self.net = nn.Sequential(
            FullyConnected(config.plane_channels, config.decoder_hidden, lr_mul=lr_mul),
            nn.Softplus(),
            FullyConnected(config.decoder_hidden, 1 + config.feature_channels, lr_mul=lr_mul),
        )

    @property
    def layers(self) -> tuple[FullyConnected, FullyConnected]:
        """Both dense layers."""
        first, last = self.net[0], self.net[2]
        assert isinstance(first, FullyConnected) and isinstance(last, FullyConnected)
        return first, last

    def weights(self, colours: int | None = None) -> Decoder:
        """Return the decoder's tensors for the renderer, of the first `colours` channels (None: all)."""
        first, last = self.layers
        keep = slice(None if colours is None else 1 + colours)
        return Decoder(
            first.weight * first.weight_gain,
            first.bias * first.lr_mul,
            last.weight[keep] * last.weight_gain,
            last.bias[keep] * last.lr_mul,
        )

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features [...,C] -> raw sigma [...] and colours [...,K] in (-0.001, 1.001)."""
        return self.weights()(features)


@dataclass(frozen=True)
class Rendered:
    """A raw rendering: features [N,C,h,w] in about [-1,1], depth and opacity [N,1,h,w]."""

    features: Tensor
    depth: Tensor
    opacity: Tensor


@dataclass(frozen=True)
class Synthesis:
    """image [N,3,S,S], image_raw [N,3,h,w] in about [-1,1]; features [N,C,h,w]; depth [N,1,h,w]."""

    image: Tensor
    image_raw: Tensor
    features: Tensor
    depth: Tensor


class Generator(nn.Module):
    """A tri-plane GAN. A new one has the official initialisation; `load_generator` reads trained ones."""

    card: GeneratorCard

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.card = GeneratorCard.default(config)
        self.backbone = Backbone(config)
        self.decoder = PlaneDecoder(config)
        self.superresolution = Superresolution(config)
        # Faster convolutions, and planes in the layout of the compiled renderer.
        self.to(memory_format=torch.channels_last)

    @property
    def precision(self) -> torch.dtype:
        """Precision of the convolutions; float32 unless it is set."""
        return self.backbone.synthesis.precision

    @precision.setter
    def precision(self, dtype: torch.dtype) -> None:
        self.backbone.synthesis.precision = self.superresolution.precision = dtype

    @property
    def num_ws(self) -> int:
        """Number of rows of ws."""
        return self.config.num_ws

    def frontal_label(self, n: int = 1) -> Tensor:
        """Return the label [n,25] of the frontal camera, which conditions samples."""
        config, like = self.config, self.backbone.mapping.w_avg
        pose = look_at(0.0, 0.0, config.camera_radius, config.camera_pivot)
        return to_label(pose, focal_intrinsics(config.camera_focal)).to(like).expand(n, -1)

    def mapping(
        self,
        z: Tensor,
        c: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """Map z [N,z_dim] and labels [N,c_dim] (None: the frontal camera) to ws [N,num_ws,w_dim]."""
        if c is None and self.config.c_dim:
            c = self.frontal_label(len(z))
        return self.backbone.mapping(z, c, truncation_psi, truncation_cutoff)

    @property
    def num_styles(self) -> int:
        """Number of styles of the backbone: the input channels of all its convolutions."""
        return sum(self.backbone.synthesis.style_widths)

    def planes(self, ws: Tensor, noise: Noise = "const", styles: Tensor | None = None) -> Tensor:
        """Map ws [N,num_ws,w_dim] to tri-planes [N,3,C,R,R].

        `styles` [N,num_styles] is added to the backbone's styles, in the order of its layers.
        """
        stacked = self.backbone.synthesis(ws, noise, styles)
        return stacked.reshape(len(ws), 3, self.config.plane_channels, *stacked.shape[2:])

    def features_at(
        self, ws: Tensor, block: int, noise: Noise = "const", styles: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Run the backbone up to and with the block of resolution `block`.

        Args:
            ws: [N,num_ws,w_dim].
            block: 4, 8, ..., R.
            noise: see `Noise`.
            styles: as in `planes`.

        Returns:
            Features [N,F,block,block], and the tri-plane accumulated so far, stacked: [N,3*C,block,block].

        Raises:
            UnknownNameError: the backbone has no such block.
        """
        synthesis = self.backbone.synthesis
        return synthesis.run(ws, range(synthesis.number(block) + 1), noise, styles=styles)

    def planes_from(
        self,
        features: Tensor,
        skip: Tensor | None,
        ws: Tensor,
        block: int,
        noise: Noise = "const",
        styles: Tensor | None = None,
    ) -> Tensor:
        """Return the tri-planes [N,3,C,R,R] that follow features at a block of the backbone.

        Args:
            features: [N,F,block,block], after the block of resolution `block`.
            skip: stacked tri-plane [N,3*C,block,block] accumulated there; None drops it.
            ws: [N,num_ws,w_dim]; the rows of later blocks are used.
            block: a resolution under R.
            noise: see `Noise`.
            styles: as in `planes`.

        Raises:
            UnknownNameError: the backbone has no such block, or none after it.
        """
        synthesis = self.backbone.synthesis
        stacked = synthesis.run(ws, synthesis.after(block), noise, features, skip, styles)[1]
        return stacked.reshape(len(ws), 3, self.config.plane_channels, *stacked.shape[2:])

    def sampling(
        self, coarse: int | None = None, fine: int | None = None, rng: torch.Generator | None = None
    ) -> Sampling:
        """Return the sampling of this generator's rays as configured, deterministic unless `rng` is given."""
        config = self.config
        return Sampling(
            coarse=config.depth_resolution if coarse is None else coarse,
            fine=config.depth_resolution_importance if fine is None else fine,
            ray_start=config.ray_start,
            ray_end=config.ray_end,
            box_warp=config.box_warp,
            plane_axes=config.plane_axes,
            white_back=config.white_back,
            rng=rng,
        )

    def sample(self, planes: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return raw density [N,M] and colours [N,M,K] at world points [N,M,3] of planes [N or 1,3,C,R,R]."""
        return self.decoder(mean_features(planes, points, self.config.box_warp, self.config.plane_axes))

    def field(self, planes: Tensor, colours: int | None = None) -> Field:
        """Return the radiance field of planes [N or 1,3,C,R,R], with all colours or the first so many."""
        return Field(planes, self.decoder.weights(colours))

    def render_rays(
        self, planes: Tensor, origins: Tensor, directions: Tensor, sampling: Sampling | None = None
    ) -> RayResult:
        """Render rays [N,R,3] through planes [N or 1,3,C,R,R]."""
        return render_rays(self.field(planes), origins, directions, sampling or self.sampling())

    def render(
        self,
        planes: Tensor,
        cam2world: Tensor,
        intrinsics: Tensor,
        resolution: int | tuple[int, int] | None = None,
        sampling: Sampling | None = None,
    ) -> Rendered:
        """Raw features, depth and opacity of planes [N or 1,3,C,R,R] seen by N cameras.

        `resolution` is a side or (h, w); None takes the configuration's.
        """
        size = self.config.neural_rendering_resolution if resolution is None else resolution
        h, w = (size, size) if isinstance(size, int) else size
        result = self.render_rays(planes, *make_rays(cam2world, intrinsics, (h, w)), sampling)
        n = len(cam2world)
        return Rendered(
            features=result.features.mT.reshape(n, -1, h, w),
            depth=result.depth.reshape(n, 1, h, w),
            opacity=result.opacity.reshape(n, 1, h, w),
        )

    def superresolve(self, features: Tensor, ws: Tensor) -> Tensor:
        """Map features [N,C,h,w] and ws [N or 1,num_ws,w_dim] to the image [N,3,S,S]."""
        return self.superresolution(features, ws.expand(len(features), -1, -1))

    def synthesis(
        self,
        ws: Tensor,
        cam2world: Tensor,
        intrinsics: Tensor,
        resolution: int | None = None,
        noise: Noise = "const",
        sampling: Sampling | None = None,
        planes: Tensor | None = None,
    ) -> Synthesis:
        """Render images of ws [N or 1,num_ws,w_dim]; given `planes` replace those of ws."""
        planes = self.planes(ws, noise) if planes is None else planes
        raw = self.render(planes, cam2world, intrinsics, resolution, sampling)
        image = self.superresolve(raw.features, ws)
        return Synthesis(image=image, image_raw=raw.features[:, :3], features=raw.features, depth=raw.depth)


def _normalized(x: Tensor) -> Tensor:
    """Rows [N,D] divided by their root mean square."""
    return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-8)
