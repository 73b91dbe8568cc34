"""E3DGE on StyleSDF: encode a picture, then render it from its own view, from others, or edited.

After "Self-Supervised Geometry-Aware Encoder for Style-Based 3D GAN Inversion" (Lan et al. 2023). Where paper
and release differ, the configuration has the choice; defaults are the release's.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.nn import functional as F

from inverters.encoders.e3dge_branch import BranchConfig, LocalBranch, Query, Reference
from inverters.encoders.e3dge_encoder import E3DGEEncoder, E3DGEEncoderConfig
from inverters.encoders.e3dge_scene import StyleSDFScene
from inverters.encoders.pose_net import POSE_WIDTHS, PoseNet
from inverters.generators.stylesdf import Codes, StyleSDF
from inverters.generators.stylesdf_config import StyleSDFConfig
from inverters.generators.stylesdf_renderer import orbit_poses


@dataclass(frozen=True)
class E3DGEConfig:
    """All shapes and choices; defaults are the release's for FFHQ 1024.

    Raises ValueError where encoder and branch are not of the generator's sizes.
    """

    generator: StyleSDFConfig = field(default_factory=StyleSDFConfig)
    encoder: E3DGEEncoderConfig = field(default_factory=E3DGEEncoderConfig)
    branch: BranchConfig = field(default_factory=BranchConfig)
    pose_widths: tuple[int, ...] = POSE_WIDTHS

    def __post_init__(self) -> None:
        encoder, generator = self.encoder, self.generator
        own = (encoder.renderer_rows, encoder.style_dim, encoder.decoder_dim, self.branch.local.modulated)
        its = (generator.renderer_rows, generator.style_dim, generator.decoder_dim, generator.width)
        if own != its:
            raise ValueError(
                f"rows and width of the renderer's code, width of the decoder's and of features are {own}, "
                f"{its} in StyleSDF"
            )


class E3DGE(nn.Module):
    """The whole network. It has batch norm: put it in eval mode to invert pictures."""

    mean_renderer: Tensor
    mean_decoder: Tensor

    def __init__(self, config: E3DGEConfig, generator: StyleSDF, means: Codes) -> None:
        super().__init__()
        self.config = config
        self.generator = generator
        self.encoder = E3DGEEncoder(config.encoder)
        self.branch = LocalBranch(config.branch)
        self.pose = PoseNet(config.pose_widths)
        self.register_buffer("mean_renderer", means.renderer)
        self.register_buffer("mean_decoder", means.decoder)

    @property
    def scene(self) -> StyleSDFScene:
        """The generator as the local branch sees it."""
        return StyleSDFScene(self.generator)

    def encode(self, image: Tensor) -> Codes:
        """Predict the codes of pictures [N,3,n,n] in [-1,1]; without a decoder head that code is the mean."""
        offsets = self.encoder(_pooled(image, self.config.encoder.size))
        rows = self.config.generator.decoder_rows
        decoder = self.mean_decoder.expand(len(image), rows, -1)
        return Codes(
            renderer=self.mean_renderer + offsets.renderer,
            decoder=decoder if offsets.decoder is None else decoder + offsets.decoder,
        )

    def camera(self, image: Tensor) -> Tensor:
        """Estimate the poses [N,3,4] of pictures [N,3,n,n]."""
        _, angles = self.pose(_pooled(image, self.pose.size))
        return orbit_poses(*angles.unbind(dim=1))

    def invert(self, image: Tensor, camera: Tensor | None = None) -> Reference:
        """Encode pictures [N,3,n,n]; `camera` [N,3,4] replaces the estimated poses."""
        poses = self.camera(image) if camera is None else camera
        pooled = _pooled(image, self.config.branch.size)
        return self.branch.reference(self.scene, pooled, self.encode(image), poses)

    def edit(self, reference: Reference, renderer: Tensor, decoder: Tensor) -> Reference:
        """Add steps [1 or N,D] to all rows of both codes of a reference."""
        codes = Codes(
            renderer=reference.codes.renderer + renderer[:, None],
            decoder=reference.codes.decoder + decoder[:, None],
        )
        return self.branch.edited(self.scene, reference, codes)

    def forward(self, reference: Reference, camera: Tensor | None = None) -> Query:
        """Render a reference with its details from poses [N,3,4]; None: its own."""
        return self.branch.query(self.scene, reference, reference.camera if camera is None else camera)


def _pooled(image: Tensor, size: int) -> Tensor:
    return F.adaptive_avg_pool2d(image, size)
