"""E3DGE on EG3D: E0 tells w+, the local branch adds what a picture shows beside it, at points along rays.

After Lan et al. 2023, sections 4.2 and 4.3. Geometry comes from the codes alone, so the generator's own
renderer gives depths, weights and colours. Colours of the samples that are seen are then changed: the mean
plane features are modulated before the decoder, and the difference is added to the ray's colour. With no
modulation the result is the generator's, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from inverters.encoders.e3dge_branch import BranchConfig, LocalBranch
from inverters.encoders.e3dge_local import inside, look_up
from inverters.encoders.e4e_mask import E4eMask, E4eMaskConfig, Seen
from inverters.encoders.first_stage import told
from inverters.encoders.psp import GradualStyleEncoder, PspConfig
from inverters.errors import FingerprintError
from inverters.generators.config import GeneratorConfig
from inverters.generators.eg3d import Generator
from inverters.generators.precision import convolutions
from inverters.rendering import marching
from inverters.rendering.cameras import from_label
from inverters.rendering.fields import Decoder
from inverters.rendering.planes import mean_features
from inverters.rendering.rays import project
from inverters.rendering.reference import RayResult

LEAST = 1 / 64
"""Weight in its ray from which a sample is modulated; the others keep the colour of the codes."""
_SAMPLES = (24, 24)
"""Coarse and fine samples a ray of thumbnails; the paper and its release have 16 to 24."""
_PIECE = 1 << 16
"""Samples that are modulated at a time."""


@dataclass(frozen=True)
class E3DGETriplaneConfig:
    """Sizes of E0 and of the local branch.

    E0 is pSp, which the paper builds on, or our own `e4e-mask`. Raises ValueError for an empty thumbnail.
    """

    codes: PspConfig | E4eMaskConfig = field(default_factory=lambda: PspConfig(num_ws=14))
    branch: BranchConfig = field(default_factory=BranchConfig)
    thumb: int = 64
    """Side of the raw renders that residuals and depths are taken from; 64 as released."""

    def __post_init__(self) -> None:
        if self.thumb < 1 or self.branch.size % 4:
            raise ValueError(
                f"thumbnails of {self.thumb} and pictures of {self.branch.size}: the first have a pixel at "
                "least, the side of the second is a multiple of 4"
            )

    def check(self, generator: GeneratorConfig) -> None:
        """Raise FingerprintError unless rows of w and width of features are those of this generator."""
        own = (self.codes.num_ws, self.codes.w_dim, self.branch.local.modulated)
        its = (generator.num_ws, generator.w_dim, generator.plane_channels)
        if own != its:
            raise FingerprintError(
                "E3DGE and generator do not fit: rows of w, their length and the width of plane features are "
                f"{own} and {its}"
            )


class E3DGETriplane(nn.Module):
    """E0, the local branch and the mean code; the generator is given to each call."""

    latent_avg: Tensor

    def __init__(self, config: E3DGETriplaneConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or E3DGETriplaneConfig()
        codes = config.codes
        self.encoder = E4eMask(codes) if isinstance(codes, E4eMaskConfig) else GradualStyleEncoder(codes)
        self.branch = LocalBranch(config.branch)
        self.register_buffer("latent_avg", torch.zeros(codes.num_ws, codes.w_dim))

    def told(self, pictures: Tensor) -> Seen:
        """Return what E0 tells of pictures [N,3,S,S] in [-1,1], resampled to its size."""
        return told(self.encoder, pictures)


@dataclass(frozen=True)
class Source:
    """N pictures, and what codes lack of them; n is the branch's size."""

    camera: Tensor  # [N,25] labels
    residual: Tensor  # [N,3,n,n] picture minus render of the unedited codes
    features: Tensor  # [N,C,n/4,n/4] E1 of the residual, on edited codes moved by E_ADA
    thumb: Tensor  # [N,3,n,n] render of the codes, edited or not
    depth: Tensor  # [N,1,h,h] its depth


@dataclass(frozen=True)
class Maps:
    """What the details of N views are read from."""

    source: Source
    aligned: Tensor  # [N,3,n,n] the residual that E_ADA moved to the view
    features: Tensor  # [N,C,n/4,n/4] E1 of that
    thumb: Tensor  # [N,3,n,n] render of the codes from the view


@dataclass(frozen=True)
class Painter:
    """The local branch over a generator."""

    branch: LocalBranch
    generator: Generator
    thumb: int
    """Side of the thumbnails, see `E3DGETriplaneConfig`."""
    least: float = LEAST
    """See `LEAST`; 0 modulates all samples."""

    def source(self, picture: Tensor, camera: Tensor, planes: Tensor, own: Tensor | None = None) -> Source:
        """Return what codes lack of pictures [N,3,n,n] that cameras [N,25] took.

        An edit moves the residual D to the edited thumbnail I' as E_ADA says that it moves from the unedited
        I: D + E_ADA(D, I') - E_ADA(D, I). An edit of nothing then changes nothing, which the release's
        E_ADA(D, I') does.

        Args:
            picture: of the branch's size, in [-1,1].
            camera: labels.
            planes: of the codes that are rendered [N,3,C,R,R].
            own: planes of the codes without an edit; None: `planes`.
        """
        thumb, depth = self._seen(planes, camera)
        before = thumb if own is None else self._seen(own, camera)[0]
        moved = residual = picture - before
        if own is not None:
            align = self.branch.align
            moved = residual + (align(residual, thumb) - align(residual, before)).float()
        return Source(camera, residual, self.branch.encoded(moved, depth).float(), thumb, depth)

    def view(self, source: Source, planes: Tensor, camera: Tensor) -> Maps:
        """Return the maps of views of planes [N,3,C,R,R] by cameras [N,25]."""
        thumb, depth = source.thumb, source.depth
        if not torch.equal(camera, source.camera):
            thumb, depth = self._seen(planes, camera)
        aligned = self.branch.align(source.residual, thumb).float()
        return Maps(source, aligned, self.branch.encoded(aligned, depth).float(), thumb)

    def colours(
        self,
        maps: Maps,
        planes: Tensor,
        seen: RayResult,
        origins: Tensor,
        directions: Tensor,
        uv: Tensor,
        channels: int | None = None,
        alignment: bool = True,
    ) -> Tensor:
        """Return colours [N,R,K] of rays with details.

        Args:
            maps: of the view that the rays are of.
            planes: that were rendered [N,3,C,R,R].
            seen: their rendering, with its samples.
            origins: [N,R,3] in world units.
            directions: [N,R,3], of unit length.
            uv: places of the rays in the picture [R,2] or [N,R,2], in [0,1].
            channels: K, as `seen` has it; None: all.
            alignment: False leaves the hybrid alignment out (the paper's table 3, "Local Features"): the
                features of the source picture are read at the ray's own pixel, as if the views were one.
        """
        if seen.weights is None or seen.depths is None:
            raise ValueError("details need the samples of the rays; render with want_samples")
        source = maps.source
        places = (2 * uv - 1).expand(len(planes), *uv.shape[-2:])
        here = look_up(maps.features if alignment else source.features, places)
        surface = origins + directions * seen.depth[..., None]
        visible = inside(self._positions(surface, source.camera))
        weights, decoder = marching.to_samples(seen.weights), self.generator.decoder.weights(channels)
        found = []
        for n in range(len(planes)):
            ray, sample = (weights[n] > self.least).nonzero(as_tuple=True)
            changed = torch.zeros_like(seen.features[n])
            for some, k in zip(ray.split(_PIECE), sample.split(_PIECE), strict=True):
                points = origins[n, some] + seen.depths[n, some, k, None] * directions[n, some]
                local = here[n, some]
                if alignment:
                    condition = torch.cat([local, visible[n, some, None]], dim=-1)
                    at = self._positions(points[None], source.camera[n : n + 1])
                    with convolutions(planes, self.generator.precision):
                        local = self.branch.fuse(condition, look_up(source.features[n : n + 1], at)[0])
                difference = self._difference(planes[n : n + 1], points, local, decoder)
                changed = changed.index_add(0, some, weights[n, some, k, None] * difference)
            found.append(seen.features[n] + 2 * changed)
        return torch.stack(found)

    def _difference(self, planes: Tensor, points: Tensor, local: Tensor, decoder: Decoder) -> Tensor:
        """By how much local features [M,C] change the colours [M,K] of points [M,3]."""
        config = self.generator.config
        hidden = mean_features(planes, points[None], config.box_warp, config.plane_axes)[0]
        with convolutions(planes, self.generator.precision):
            changed = self.branch.local.modulate(hidden, local, points).float()
        return decoder(changed)[1] - decoder(hidden)[1]

    @torch.no_grad()
    def _seen(self, planes: Tensor, camera: Tensor) -> tuple[Tensor, Tensor]:
        """Thumbnail [N,3,n,n] at the branch's size, and depth [N,1,h,h] as it was rendered."""
        sampling = self.generator.sampling(*_SAMPLES)
        with torch.autocast(planes.device.type, enabled=False):
            found = self.generator.render(planes, *from_label(camera), self.thumb, sampling)
        return self.branch.enlarged(found.features[:, :3]), found.depth

    @staticmethod
    def _positions(points: Tensor, camera: Tensor) -> Tensor:
        """Project world points [N,M,3] to [N,M,2] in [-1,1] inside the picture."""
        return 2 * project(points, *from_label(camera)) - 1
