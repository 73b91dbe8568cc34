"""Samples along rays: EG3D's stratified depths, and positions in the inverse CDF for a second pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from inverters.rendering.planes import PlaneAxes


@dataclass(frozen=True)
class Sampling:
    """Number and positions of the samples of a ray, and the volume they lie in.

    By default deterministic: coarse samples in the middle of their strata, u_k = (k+0.5)/fine. With `rng`
    both are drawn; `jitter` [N or 1, R or 1, coarse] and `u` [N or 1, R or 1, fine] in [0,1) set them. Raises
    ValueError for fewer than 2 coarse samples, or 4 with a second pass.
    """

    coarse: int = 48
    fine: int = 48
    ray_start: float = 2.25
    ray_end: float = 3.3
    box_warp: float = 1.0
    plane_axes: PlaneAxes = "original"
    white_back: bool = False
    rng: torch.Generator | None = None
    jitter: Tensor | None = None
    u: Tensor | None = None

    def __post_init__(self) -> None:
        least = 4 if self.fine else 2
        if self.coarse < least or self.fine < 0:
            raise ValueError(
                f"a ray needs {least} coarse samples or more and no negative number of fine ones, "
                f"not {self.coarse} and {self.fine}"
            )

    def coarse_depths(self, n: int, rays: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return sorted depths [n,rays,coarse] and their limits [2].

        linspace + jitter * step, up to a step past `ray_end` as in EG3D.
        """
        start = torch.linspace(
            self.ray_start, self.ray_end, self.coarse, dtype=like.dtype, device=like.device
        )
        step = (self.ray_end - self.ray_start) / (self.coarse - 1)
        depths = start + self._draw(self.jitter, n, rays, self.coarse, like) * step
        limits = torch.stack(torch.aminmax(depths)) if depths.numel() else depths.new_zeros(2)
        return depths.expand(n, rays, self.coarse), limits

    def fine_positions(self, n: int, rays: int, like: Tensor) -> Tensor:
        """Return positions [n,rays,fine] in [0,1) for the inverse CDF of the coarse weights."""
        if self.u is None and self.rng is None:
            grid = (torch.arange(self.fine, dtype=like.dtype, device=like.device) + 0.5) / self.fine
            return grid.expand(n, rays, self.fine)
        return self._draw(self.u, n, rays, self.fine, like).expand(n, rays, self.fine)

    def _draw(self, given: Tensor | None, n: int, rays: int, count: int, like: Tensor) -> Tensor:
        if given is not None:
            return given.to(like)
        if self.rng is not None:
            return torch.rand(n, rays, count, generator=self.rng, device=self.rng.device).to(like)
        return torch.full((1, 1, 1), 0.5, dtype=like.dtype, device=like.device)
