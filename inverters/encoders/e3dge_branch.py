"""E3DGE's hybrid alignment: details of a reference picture, carried to other views and edited codes.

The branch works on any generator that `e3dge_scene` describes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inverters.encoders.e3dge_align import (
    ALIGNER_WIDTHS,
    FeatureFilm,
    Fusion,
    ResidualAligner,
    SpatialFeatureTransform,
)
from inverters.encoders.e3dge_local import LocalConfig, LocalEncoder, inside, look_up
from inverters.encoders.e3dge_scene import Scene, View


@dataclass(frozen=True)
class BranchConfig:
    """Shapes and choices of the local branch with its alignment."""

    size: int = 256
    """Side of the pictures that E1 and E_ADA read."""
    local: LocalConfig = field(default_factory=LocalConfig)
    aligner_widths: tuple[int, int, int, int] = ALIGNER_WIDTHS
    fusion: Fusion = "released"


@dataclass(frozen=True)
class Reference:
    """An inverted picture, with or without an edit of its codes."""

    codes: Any  # of the generator's kind
    camera: Tensor
    view: View  # the codes seen by the camera
    residual: Tensor  # [N,3,n,n] picture minus thumbnail of the unedited codes, at the branch's size
    moved: Tensor  # [N,3,n,n] the residual on the view's thumbnail: the same before an edit
    features: Tensor  # [N,C,n/4,n/4] E1 of `moved` and the view's depth


@dataclass(frozen=True)
class Query:
    """A rendering of a reference with its details, and the results before it; h x w rays of S samples."""

    image: Tensor  # [N,3,S,S]
    thumb: Tensor  # [N,3,h,w]
    view: View  # the codes without details
    aligned: Tensor  # [N,3,n,n] the residual moved to the query's thumbnail
    features_3d: Tensor  # [N,h,w,S,C] of the reference, at the samples' projections
    features_2d: Tensor  # [N,h,w,S,C] of the aligned residual
    visible: Tensor  # [N,h,w] 1 where the ray's surface point lies in the reference picture
    fused: Tensor  # [N,h,w,S,C]


class LocalBranch(nn.Module):
    """E1, E_ADA and SFT over a generator that they do not own."""

    def __init__(self, config: BranchConfig) -> None:
        super().__init__()
        self.config = config
        self.local = LocalEncoder(config.local)
        self.align = ResidualAligner(config.aligner_widths)
        fuse = SpatialFeatureTransform if config.fusion == "released" else FeatureFilm
        self.fuse = fuse(config.local.hourglass.channels, config.local.film)

    def reference(self, scene: Scene, image: Tensor, codes: Any, camera: Tensor) -> Reference:
        """Return what the codes lack of pictures [N,3,n,n], whose side is the branch's size."""
        view = scene.view(codes, camera)
        residual = image - self.enlarged(view.thumb)
        return Reference(codes, camera, view, residual, residual, self.encoded(residual, view.depth))

    def edited(self, scene: Scene, reference: Reference, codes: Any) -> Reference:
        """Return a reference with edited codes; its residual is moved to the edited picture."""
        view = scene.view(codes, reference.camera)
        moved = self.align(reference.residual, self.enlarged(view.thumb))
        features = self.encoded(moved, view.depth)
        return Reference(codes, reference.camera, view, reference.residual, moved, features)

    def query(self, scene: Scene, reference: Reference, camera: Tensor) -> Query:
        """Render a reference with its details from another camera, or from its own."""
        view = scene.view(reference.codes, camera)
        aligned = self.align(reference.residual, self.enlarged(view.thumb))
        at_reference = scene.positions(view.points, reference.camera)
        features_3d = look_up(reference.features, at_reference)
        features_2d = look_up(self.encoded(aligned, view.depth), scene.positions(view.points, camera))
        visible = inside(scene.positions(view.surface, reference.camera))
        seen = visible[..., None, None].expand(*features_2d.shape[:-1], 1)
        fused = self.fuse(torch.cat([features_2d, seen], dim=-1), features_3d)
        hidden = self.local.modulate(view.hidden, fused, view.points)
        image, thumb = scene.paint(view, reference.codes, hidden)
        return Query(image, thumb, view, aligned, features_3d, features_2d, visible, fused)

    def encoded(self, residual: Tensor, depth: Tensor) -> Tensor:
        """Return E1's features [N,C,n/4,n/4] of a residual [N,3,n,n] and a view's depth [N,1,h,w]."""
        found: Tensor = self.local(residual, self.enlarged(depth))
        return found

    def enlarged(self, x: Tensor) -> Tensor:
        """Return a map [N,K,h,w] at the branch's size, by nearest neighbours as released."""
        return F.interpolate(x, size=(self.config.size, self.config.size), mode="nearest")
