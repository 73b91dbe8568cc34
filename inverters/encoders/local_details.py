"""Details that E3DGE's local branch finds, as an inversion carries them: what the branch looks at, as bytes.

Local features have 2.1 MB a frame at half precision in the public sizes, and depend on the edit and on the
camera of the render. An inversion has the pictures that they are made of instead (0.2 MB as bytes), their
cameras, and once the weights of the branch at half precision.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inverters.encoders.configs import config_of
from inverters.encoders.e3dge_branch import LocalBranch
from inverters.encoders.e3dge_triplane import E3DGETriplane, E3DGETriplaneConfig, Painter
from inverters.generators.strict_loading import filled
from inverters.rendering.cameras import to_label
from inverters.rendering.rays import pixel_centres
from inverters.rendering.reference import RayResult

SOURCE, CAMERA = "source", "source_camera"
"""Names in `Inversion.latent` of the pictures uint8 [K,3,S,S] and of their cameras' labels [K,25]."""
_INFO = "local"


@dataclass(frozen=True)
class LocalDetails:
    """What N codes lack of N pictures."""

    branch: LocalBranch
    thumb: int
    """Side of thumbnails, see `E3DGETriplaneConfig`."""
    pictures: Tensor
    """uint8 [N,3,S,S]."""
    cameras: Tensor
    """Labels [N,25] of the pictures."""
    ws: Tensor
    """Codes [N,num_ws,w_dim] without edits."""

    @classmethod
    def of(cls, inversion: Any, device: torch.device | str = "cpu") -> LocalDetails | None:
        """Return those of an `Inversion`; None if it has none.

        Raises:
            CheckpointError: its weights are not those of the network that it names.
        """
        latent = inversion.latent
        if SOURCE not in latent:
            return None
        config = config_of(E3DGETriplaneConfig, inversion.info[_INFO])
        branch = filled(
            lambda: LocalBranch(config.branch), inversion.refiner, "the inversion's network of local features"
        )
        return cls(branch.to(device), config.thumb, latent[SOURCE], latent[CAMERA], inversion.ws)

    def at(self, rows: Tensor) -> LocalDetails:
        """Return those of some codes."""
        kept = {name: getattr(self, name)[rows] for name in ("pictures", "cameras", "ws")}
        return dataclasses.replace(self, **kept)

    def colours(
        self,
        generator: Any,
        planes: Tensor,
        ws: Tensor,
        seen: RayResult,
        cameras: tuple[Tensor, Tensor],
        rays: tuple[Tensor, Tensor],
    ) -> Tensor:
        """Return the colours [N,R,K] of a rendering with details.

        Args:
            generator: that rendered.
            planes: that were rendered [N,3,C,R,R].
            ws: codes of the planes [N,num_ws,w_dim], edited or not.
            seen: the rendering of all pixels, with its samples.
            cameras: cam2world [N,4,4] and intrinsics [N,3,3].
            rays: origins and directions [N,R,3].
        """
        device = planes.device
        mine = self.ws.to(device)
        own = None if torch.equal(mine, ws) else generator.planes(mine)
        picture = self.pictures.to(device).float() / 127.5 - 1
        view = to_label(cameras[0].to(planes), cameras[1].to(planes))
        painter = Painter(self.branch, generator, self.thumb)
        source = painter.source(picture, self.cameras.to(device), planes, own)
        maps = painter.view(source, planes, view)
        side = round(rays[0].shape[1] ** 0.5)
        return painter.colours(maps, planes, seen, *rays, pixel_centres((side, side), device=device))


def carried_details(
    network: E3DGETriplane, pictures: Tensor, cameras: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
    """Return what `LocalDetails.of` reads: entries of `latent`, the `refiner`, and an entry of `info`.

    Args:
        network: whose branch looks at the pictures.
        pictures: uint8 [K,3,S,S], of the branch's size.
        cameras: their labels [K,25].
    """
    latent = {SOURCE: pictures.cpu(), CAMERA: cameras.cpu()}
    weights = network.branch.state_dict()
    halved = {k: (v.half() if v.is_floating_point() else v).cpu() for k, v in weights.items()}
    return latent, halved, {_INFO: dataclasses.asdict(network.config)}
