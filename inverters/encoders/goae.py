"""GOAE ("Make Encoder Great Again in 3D GAN Inversion", Yuan et al. 2023): a picture to w+, F*, tri-planes.

The encoder predicts w+. The residual between its rendering and the picture refines the features F of a block
of the backbone to F*. Tri-planes of F* show the input view; other views take their mix with those of w+.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from inverters.encoders.e4e_mask import E4eMask
from inverters.encoders.first_stage import told
from inverters.encoders.goae_afa import Afa
from inverters.encoders.goae_encoder import GoaeEncoder, to_size
from inverters.encoders.goae_mix import Form, Sigma, mix_planes, visible_masks
from inverters.errors import FingerprintError
from inverters.generators.eg3d import Generator, Rendered, Synthesis
from inverters.rendering.rays import make_rays
from inverters.rendering.sampling import Sampling


@dataclass(frozen=True)
class GoaeSettings:
    """Rendering, and choices where paper and released code differ."""

    residual: Form = "released"
    """Residual for the alignment. `released`: rendering minus picture; `paper`: picture minus rendering."""
    mix: Form = "released"
    """Planes that are mixed. `released`: xy alone; `paper`: all three (eq. 8)."""
    edit: Form = "released"
    """Codes of the blocks after F* in an edit. `released`: those before the edit; `paper`: the edited."""
    sigma: Sigma = 1.5
    """Blur of the mask in texels; a torch.Generator draws it each time, as the release does."""
    resolution: int | None = None
    """Side of raw renderings; None takes the generator's."""
    sampling: Sampling | None = None
    """Samples along rays; None takes the generator's."""


@dataclass(frozen=True)
class Cameras:
    """cam2world [N,4,4] and intrinsics [N,3,3] of N input views."""

    cam2world: Tensor
    intrinsics: Tensor

    def at(self, rows: Tensor) -> Cameras:
        """Return those of some views."""
        return Cameras(self.cam2world[rows], self.intrinsics[rows])


@dataclass(frozen=True)
class GoaePlanes:
    """Tri-planes [N,3,C,R,R] of an inversion or an edit, and what they were made of."""

    ws: Tensor
    """[N,num_ws,w_dim]; its last row drives super-resolution."""
    base: Tensor
    """Planes of w+ alone."""
    refined: Tensor
    """Planes of F*, for the input view."""
    raw: Rendered
    """The input view of `refined`."""
    masks: Tensor
    """Share of `refined` in `mixed` [N,3,R,R]."""
    mixed: Tensor
    """Planes for other views."""


@dataclass(frozen=True)
class GoaeInversion:
    """Result of `Goae.invert`; `Goae.edit` goes on from it."""

    planes: GoaePlanes
    features: Tensor
    """F of w+ [N,F,b,b]."""
    refined_features: Tensor
    """F* [N,F,b,b]."""
    w_view: Synthesis
    """The input view of w+ alone."""


@dataclass(frozen=True)
class Before:
    """N codes before the alignment."""

    features: Tensor
    """F of w+ [N,F,b,b]."""
    skip: Tensor
    """Stacked tri-plane accumulated at F [N,3*C,b,b]."""
    base: Tensor
    """Planes of w+ alone [N,3,C,R,R]."""
    view: Synthesis
    """The input view of w+ alone."""


class Goae:
    """The networks with the generator they were trained for."""

    def __init__(
        self,
        generator: Generator,
        encoder: GoaeEncoder | E4eMask,
        afa: Afa | None = None,
        settings: GoaeSettings | None = None,
    ) -> None:
        """Without `afa` only `w_plus` works.

        Raises:
            FingerprintError: codes or features of the networks are not of the generator's shapes.
        """
        config = generator.config
        if (encoder.config.num_ws, encoder.config.w_dim) != (config.num_ws, config.w_dim):
            raise FingerprintError(
                f"the encoder's w+ has {encoder.config.num_ws} x {encoder.config.w_dim} numbers, "
                f"the generator's {config.num_ws} x {config.w_dim}"
            )
        if afa is not None and afa.config.channels != config.channels(afa.config.block):
            raise FingerprintError(
                f"the alignment refines {afa.config.channels} channels, the generator has "
                f"{config.channels(afa.config.block)} at {afa.config.block} x {afa.config.block}"
            )
        self.generator, self.encoder, self._afa = generator, encoder, afa
        self.settings = settings or GoaeSettings()

    @property
    def afa(self) -> Afa:
        """The alignment; raises ValueError if there is none."""
        if self._afa is None:
            raise ValueError("GOAE's second stage needs the weights of the alignment")
        return self._afa

    def w_plus(self, images: Tensor) -> Tensor:
        """Map pictures [N,3,S,S] in [-1,1], resampled to the encoder's size, to ws [N,num_ws,w_dim]."""
        return told(self.encoder, images).offsets + self.generator.backbone.mapping.w_avg

    def align(self, images: Tensor, rendered: Tensor, features: Tensor) -> Tensor:
        """Refine features F [N,F,b,b] by pictures and their renderings [N,3,S,S] to F*."""
        size = self.afa.config.image_size
        residual = to_size(rendered, size) - to_size(images, size)
        refined: Tensor = self.afa(features, -residual if self.settings.residual == "paper" else residual)
        return refined

    def before(self, ws: Tensor, cameras: Cameras) -> Before:
        """Return features, planes and the input view of codes ws [N,num_ws,w_dim]."""
        features, skip = self.generator.features_at(ws, self.afa.config.block)
        base = self._planes(features, skip, ws)
        return Before(features, skip, base, self._view(ws, cameras, base))

    def invert(self, images: Tensor, cameras: Cameras, ws: Tensor | None = None) -> GoaeInversion:
        """Invert pictures [N,3,S,S] in [-1,1] of known cameras.

        `ws` [N,num_ws,w_dim] begins from other codes than those of `w_plus`.
        """
        ws = self.w_plus(images) if ws is None else ws
        found = self.before(ws, cameras)
        aligned = self.align(images, found.view.image, found.features)
        refined = self._planes(aligned, found.skip, ws)
        return GoaeInversion(
            planes=self._mixed(ws, found.base, refined, cameras),
            features=found.features,
            refined_features=aligned,
            w_view=found.view,
        )

    def edit(self, inversion: GoaeInversion, ws: Tensor, cameras: Cameras) -> GoaePlanes:
        """Return the planes of edited codes ws [N,num_ws,w_dim]: F* + F(edited) - F (eq. 9).

        `cameras` are those of the inversion: they see what is refined.
        """
        features, skip = self.generator.features_at(ws, self.afa.config.block)
        moved = inversion.refined_features + features - inversion.features
        later = inversion.planes.ws if self.settings.edit == "released" else ws
        base = self._planes(features, skip, ws)
        return self._mixed(ws, base, self._planes(moved, skip, later), cameras)

    def _planes(self, features: Tensor, skip: Tensor, ws: Tensor) -> Tensor:
        return self.generator.planes_from(features, skip, ws, self.afa.config.block)

    def _view(self, ws: Tensor, cameras: Cameras, planes: Tensor) -> Synthesis:
        pose = (cameras.cam2world, cameras.intrinsics)
        resolution, sampling = self.settings.resolution, self.settings.sampling
        return self.generator.synthesis(ws, *pose, resolution, sampling=sampling, planes=planes)

    def _mixed(self, ws: Tensor, base: Tensor, refined: Tensor, cameras: Cameras) -> GoaePlanes:
        """Mix planes of F* and w+ by the surface of F* that the input view sees."""
        raw, masks = seen_surface(self.generator, refined, cameras, self.settings)
        mixed = mix_planes(refined, base, masks)
        return GoaePlanes(ws=ws, base=base, refined=refined, raw=raw, masks=masks, mixed=mixed)


def seen_surface(
    generator: Generator, refined: Tensor, cameras: Cameras, settings: GoaeSettings
) -> tuple[Rendered, Tensor]:
    """Return the input views of planes of F* [N,3,C,R,R], and masks [N,3,R,R] of the surface in them."""
    pose, config = (cameras.cam2world, cameras.intrinsics), generator.config
    raw = generator.render(refined, *pose, settings.resolution, settings.sampling)
    origins, directions = make_rays(*pose, (raw.depth.shape[2], raw.depth.shape[3]))
    points = (origins + directions * raw.depth.flatten(2).mT).detach()
    size, axes = refined.shape[-1], config.plane_axes
    return raw, visible_masks(points, size, config.box_warp, axes, settings.sigma, settings.mix)
