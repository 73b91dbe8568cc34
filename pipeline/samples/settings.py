"""Settings of a synthetic clip."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.request.edits import View

SECONDS, FPS, SEEDS, YAWS = (0.01, 3600.0), (1, 120), (0, 2**31 - 1), (0.0, 1.2)
"""The least and the most that is taken."""


@dataclass(frozen=True)
class SampleSettings:
    """Settings of a synthetic clip.

    size: (W, H) in pixels; attributes: parameters of the person that the truth also shows edited; views:
    rotations of the camera from which the truth also shows the frames; yaw: the widest turn of the head to
    either side, in radians.
    """

    occluder: str = "mask"
    seconds: float = 2.0
    fps: float = 15.0
    seed: int = 7
    attributes: tuple[str, ...] = ("smile",)
    size: tuple[int, int] = (384, 288)
    views: tuple[View, ...] = (View(yaw=0.3),)
    yaw: float = 0.36

    @property
    def frames(self) -> int:
        """Number of frames."""
        return max(1, round(self.seconds * self.fps))
