"""Card of a generator: crop and camera rules, statistics, landmarks and directions beside its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from inverters.generators.config import GeneratorConfig
from inverters.rendering.cameras import FOCAL, PIVOT, RADIUS, RadiusRule

_MOST_PIXELS, _MOST_UNITS = 1 << 14, 1e6
STANDARD_POINTS = (
    (-0.31149, 0.29036, 0.13378),
    (0.30980, 0.28972, 0.13180),
    (0.00325, -0.04618, 0.55244),
    (-0.25217, -0.38134, 0.22406),
    (0.24847, -0.38128, 0.22236),
)
"""EG3D's five standard points (x, y up, z): image-left eye, image-right eye, nose, mouth corners."""


@dataclass(frozen=True)
class CropRule:
    """How a frame is cropped for a generator, by EG3D's rule.

    Five landmarks are fitted to `points3d` [5,3] by least squares; the image is scaled by rescale_factor /
    fitted scale; a square of `target` pixels is cut about the fit's centre; its middle `centre_crop` pixels
    are the crop.
    """

    points3d: tuple[tuple[float, float, float], ...] = STANDARD_POINTS
    rescale_factor: float = 300.0
    target: int = 1024
    centre_crop: int = 700


@dataclass(frozen=True)
class CameraRule:
    """Where a generator's cameras are; `kind` is a radius rule of `rendering.cameras.set_radius`."""

    radius: float = RADIUS
    pivot: tuple[float, float, float] = PIVOT
    focal: float = FOCAL
    kind: str = "orig"


def checked_crop(rule: CropRule) -> CropRule:
    """The rule. Raises ValueError or TypeError for values of another kind, or that no crop can have."""
    points = np.asarray(rule.points3d, np.float64)
    if points.shape != (5, 3) or not np.isfinite(points).all():
        raise ValueError("its points3d are not five points")
    if not 0 < rule.rescale_factor <= _MOST_PIXELS:
        raise ValueError(f"its rescale_factor is {rule.rescale_factor!r:.20}")
    for name in ("target", "centre_crop"):
        if type(value := getattr(rule, name)) is not int or not 1 <= value <= _MOST_PIXELS:
            raise ValueError(f"its {name} is {value!r:.20}")
    return rule


def checked_camera(rule: CameraRule) -> CameraRule:
    """The rule. Raises ValueError or TypeError for values of another kind, or that no camera can have."""
    pivot = np.asarray(rule.pivot, np.float64)
    if pivot.shape != (3,) or not np.isfinite(pivot).all():
        raise ValueError("its pivot is no point")
    for name in ("radius", "focal"):
        if not 0 < (value := getattr(rule, name)) <= _MOST_UNITS:
            raise ValueError(f"its {name} is {value!r:.20}")
    if rule.kind not in get_args(RadiusRule):
        raise ValueError(f"its kind of cameras is {rule.kind!r:.20}")
    return rule


@dataclass(frozen=True, eq=False)
class GeneratorCard:
    """What is known of a generator beside its weights."""

    name: str
    config: GeneratorConfig
    w_avg: Tensor
    w_std: Tensor
    """Mean and standard deviation [w_dim] of w over z."""
    crop_rule: CropRule = field(default_factory=CropRule)
    camera_rule: CameraRule = field(default_factory=CameraRule)
    landmarks3d: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    """Landmarks [L,3] in the world, by layout ("68", "478")."""
    directions: Mapping[str, Tensor] = field(default_factory=dict)
    """Steps [num_ws,w_dim] or [w_dim] of one standard deviation of a parameter, by its name."""
    parameters: tuple[str, ...] = ()
    """Names of the first entries of z, if they have a meaning."""
    reports: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    """Of the stored weights, see `checkpoint.fingerprint`."""
    licence: str = ""
    path: Path | None = None
    """File of our own form that the generator was read from."""

    @classmethod
    def default(cls, config: GeneratorConfig, name: str = "untrained") -> GeneratorCard:
        """Return the card of a generator of which only the configuration is known."""
        rule = CameraRule(radius=config.camera_radius, pivot=config.camera_pivot, focal=config.camera_focal)
        w = torch.zeros(config.w_dim)
        return cls(name=name, config=config, w_avg=w, w_std=torch.ones(config.w_dim), camera_rule=rule)
