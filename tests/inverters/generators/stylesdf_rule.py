"""StyleSDF's generator with the weights of the golden rule."""

from __future__ import annotations

import torch
from torch import Tensor

from inverters.generators.stylesdf import StyleSDF, load_stylesdf
from inverters.generators.stylesdf_renderer import orbit_poses
from tests.inverters.encoders.rule import Row, keys, rule_dictionary

TITLE = "ffhq1024x1024.pt g_ema"
ANGLES = ((0.0, 0.0), (0.2, -0.1), (-0.25, 0.05))
"""Azimuth and elevation of the golden cameras."""
_DENSE = (2, 9)
ROWS = (
    Row(r"sigmoid_beta$", 0.02, 0.0),
    Row(r"^style\.\d\.weight$", 0.0, 0.09),
    Row(r"pts_linears\.0\.weight$", 0.0, 0.19),
    Row(r"(pts_linears\.\d|views_linears)\.weight$", 0.0, 0.004),
    Row(r"(gamma|beta)\.weight$", 0.0, 0.02),
    Row(r"sigma_linear\.weight$", 0.0, 0.01),
    Row(r"rgb_linear\.weight$", 0.0, 0.05),
    Row(r"renderer\.network\..*bias$", 0.0, 0.04),
    Row(r"^decoder\.style\.\d\.weight$", 0.0, 100.0),
    Row(r"^decoder\.style\.\d\.bias$", 0.0, 20.0),
    Row(r"modulation\.bias$", 1.0, 0.2),
    Row(r"noise\.weight$", 0.1, 0.05),
    Row(r"^decoder\..*weight$", 0.0, 1.0, _DENSE),
)


def stylesdf_dictionary() -> dict[str, Tensor]:
    """The tensors of the released file by the rule, but for its filters, which are not read."""
    return rule_dictionary(keys("stylesdf", TITLE), ROWS)


def rule_stylesdf() -> StyleSDF:
    """The released architecture with the weights of the rule; skips where the layout is absent."""
    return load_stylesdf(stylesdf_dictionary())


def golden_pose(camera: int) -> Tensor:
    """The pose [1,3,4] of a golden camera."""
    azimuth, elevation = ANGLES[camera]
    return orbit_poses(torch.tensor([azimuth]), torch.tensor([elevation]))
