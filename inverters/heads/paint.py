"""Colours of a procedural head: palettes, painted features, shading."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from inverters.heads.anatomy import EYE_Y, EYE_Z, Parts, Values, eye_frame
from inverters.heads.shapes import mix, smoothstep

_SKIN = (
    (0.26, 0.145, 0.095),
    (0.45, 0.275, 0.185),
    (0.69, 0.48, 0.36),
    (0.86, 0.66, 0.54),
    (0.96, 0.80, 0.71),
)
_HAIR = (
    (0.045, 0.035, 0.035),
    (0.16, 0.095, 0.06),
    (0.36, 0.19, 0.10),
    (0.56, 0.25, 0.10),
    (0.80, 0.58, 0.28),
    (0.90, 0.82, 0.68),
)
_IRIS = ((0.16, 0.075, 0.03), (0.38, 0.21, 0.08), (0.32, 0.40, 0.18), (0.22, 0.46, 0.56), (0.42, 0.58, 0.74))
_EDGE = 0.0016
"""Half-width, in design units, of the transition between materials."""


def palette(colors: tuple[tuple[float, float, float], ...], t: Tensor) -> Tensor:
    """Return the piecewise linear colour [N,1,3] at t [N,1] in [0,1] between evenly spaced colours."""
    position = t * (len(colors) - 1)
    weights = torch.cat([(1.0 - (position - i).abs()).clamp_min(0.0) for i in range(len(colors))], dim=1)
    return (weights @ weights.new_tensor(colors))[:, None]


def hue_color(hue: Tensor, lightness: Tensor, saturation: float) -> Tensor:
    """Return a muted colour [N,1,3] from hue (0 red, 1/3 green, 0.8 violet) and lightness, [N,1] each."""
    shift = hue.new_tensor([0.0, 1.0 / 3.0, 2.0 / 3.0])
    wheel = torch.cos(2.0 * math.pi * (0.8 * hue - shift))
    return (lightness * (1.0 + saturation * wheel)).clamp(0.0, 1.0)[:, None]


def backdrop_color(values: Values, y: Tensor) -> Tensor:
    """Return the backdrop's colour [N,M,3] at world heights y [N,M]: a vertical gradient."""
    color = hue_color(values["background_hue"], mix(0.34, 0.78, values["background_lightness"]), 0.15)
    t = (y + 0.5).clamp(0.0, 1.0)
    glow = 0.78 + 0.34 * t - 0.10 * t * t
    return (color * glow[..., None]).clamp(0.0, 1.0)


def _blend(base: Tensor, color: Tensor, weight: Tensor) -> Tensor:
    return base + (color - base) * weight[..., None]


def _spot(d: Tensor, width: float) -> Tensor:
    """Gaussian bump exp(-(d / width)^2)."""
    return torch.exp(-(d * d) * (1.0 / (width * width)))


def hair_tone(values: Values) -> Tensor:
    """Return the hair's colour [N,1,3], grey at high age."""
    color = palette(_HAIR, values["hair_color"])
    grey = 0.75 * smoothstep(0.62, 1.0, values["age"])[:, None]
    return color + (color.new_tensor([0.70, 0.69, 0.68]) - color) * grey


def skin_color(values: Values, p: Parts) -> Tensor:
    """Return the skin's colour [N,M,3] with blush, lips, brows, lashes, stubble and wrinkles."""
    tone = palette(_SKIN, values["skin"])
    warm = values["skin_warmth"][:, None]
    tone = tone * (tone.new_tensor([1.02, 0.965, 0.985]) + warm * tone.new_tensor([-0.01, 0.05, -0.06]))
    ex, radius = eye_frame(values)
    base = tone.expand(*p.x.shape, 3)
    rosy = tone * tone.new_tensor([1.02, 0.80, 0.77])
    blush = 0.55 * _spot(torch.sqrt((p.ax - 0.088) ** 2 + (p.y + 0.045) ** 2 + 1e-9), 0.042)
    nose = 0.45 * _spot(torch.sqrt(p.ax**2 + (p.y + 0.05) ** 2 + (p.z - 0.21) ** 2 + 1e-9), 0.03)
    ear = 0.5 * smoothstep(0.165, 0.20, p.ax)
    base = _blend(base, rosy, (blush + nose + ear) * smoothstep(-0.2, -0.1, p.y))
    age = values["age"]
    base = base * (1.0 - _lines(values, p, age))[..., None] ** tone.new_tensor([0.75, 1.0, 1.05])
    hair = hair_tone(values)
    stubble = p.beard * smoothstep(0.40, 0.85, values["beard"])
    base = _blend(base, mix(hair, tone, tone.new_tensor(0.15)), 0.93 * stubble)
    lips = tone * tone.new_tensor([0.93, 0.54, 0.55]) + tone.new_tensor([0.05, 0.0, 0.01])
    base = _blend(base, lips, torch.sigmoid((0.0015 - p.lips) * 900.0) * smoothstep(0.10, 0.13, p.z))
    base = _blend(base, hair * 0.85, _brow(values, p, ex))
    crease = _spot(p.lid_top - 0.0105, 0.004) * _spot(p.ax - ex, 0.036) * smoothstep(0.1, 0.13, p.z)
    base = base * (1.0 - 0.22 * crease)[..., None]
    span = smoothstep(1.10, 0.94, ((p.ax - ex) / radius).abs()) * smoothstep(0.09, 0.11, p.z)
    rim = smoothstep(0.0075, 0.001, p.lid) * smoothstep(-0.006, -0.001, p.lid_top) * span
    base = _blend(base, hair * 0.25, 0.92 * rim)
    low = smoothstep(0.0045, 0.001, p.lid) * span
    base = _blend(base, rosy * 0.62, 0.6 * low * (1.0 - rim))
    scalp = 0.65 * smoothstep(-0.012, 0.002, p.bare_scalp) * smoothstep(0.0, 0.03, p.hairline)
    return _blend(base, hair, scalp * smoothstep(-0.1, 0.0, p.y))


def _brow(values: Values, p: Parts, ex: Tensor) -> Tensor:
    """Weight [N,M] of the brows' colour in [0,1]."""
    along = p.ax - ex
    lift = 0.072 + 0.009 * values["brow_height"] + 0.10 * values["brow_tilt"] * along
    line = p.y - lift - 0.02 * along + 4.5 * along * along
    thick = mix(0.0050, 0.0105, values["brow_thickness"]) * (1.0 - 5.0 * along.clamp(-0.04, 0.08))
    ends = smoothstep(-0.052, -0.036, along) * smoothstep(0.056, 0.030, along)
    return 0.93 * smoothstep(1.15, 0.55, (line / thick).abs()) * ends * smoothstep(0.05, 0.09, p.z)


def _lines(values: Values, p: Parts, age: Tensor) -> Tensor:
    """Darkening [N,M] by wrinkles: on the forehead, beside the nose, under the eyes."""
    ex, radius = eye_frame(values)
    strength = smoothstep(0.35, 1.0, age)
    front = smoothstep(0.06, 0.12, p.z)
    forehead = (
        smoothstep(0.55, 1.0, torch.sin(p.y * 230.0 + 2.0 * torch.cos(p.ax * 20.0)))
        * smoothstep(0.095, 0.115, p.y)
        * smoothstep(0.20, 0.16, p.y)
        * smoothstep(0.12, 0.06, p.ax)
    )
    fold_x = 0.030 + 0.42 * (-0.055 - p.y) + 0.010 * values["smile"]
    fold = _spot(p.ax - fold_x, 0.0045) * smoothstep(-0.135, -0.115, p.y) * smoothstep(-0.052, -0.068, p.y)
    under = p.y - EYE_Y + radius * 1.05 - 8.0 * (p.ax - ex) ** 2
    bag = _spot(under, 0.005) * _spot(p.ax - ex, 0.028)
    smile = 0.16 * values["smile"].clamp_min(0.0) * fold
    return front * (strength * (0.26 * forehead + 0.34 * fold + 0.28 * bag) + smile)


def eye_color(values: Values, p: Parts) -> Tensor:
    """Return the eye's colour [N,M,3]: sclera, iris with a dark ring, pupil and highlight."""
    ex, radius = eye_frame(values)
    side = torch.tanh(p.x * 400.0)
    nx, ny, nz = (p.ax - ex) * side / radius, (p.y - EYE_Y) / radius, (p.z - EYE_Z) / radius
    gx, gy = values["gaze_x"], values["gaze_y"]
    gz = torch.sqrt(1.0 - gx * gx - gy * gy)
    rho = torch.sqrt((nx - gx) ** 2 + (ny - gy) ** 2 + (nz - gz) ** 2 + 1e-6)
    white = p.x.new_tensor([0.93, 0.90, 0.88])
    base = white.expand(*p.x.shape, 3) * (1.0 - 0.30 * smoothstep(-0.016, 0.0, p.lid_top))[..., None]
    iris = palette(_IRIS, values["eye_color"])
    glow = (0.75 + 0.9 * (rho - 0.22).clamp(0.0, 0.3) + 0.5 * (gy - ny).clamp(-0.3, 0.5))[..., None]
    base = _blend(base, iris * glow, smoothstep(0.56, 0.51, rho))
    base = _blend(base, iris * 0.25, 0.75 * _spot(rho - 0.52, 0.05))
    base = _blend(base, p.x.new_tensor([0.02, 0.018, 0.02]), smoothstep(0.26, 0.20, rho))
    spark = torch.sqrt((nx - gx * 0.5 + 0.16) ** 2 + (ny - gy * 0.5 - 0.22) ** 2 + 1e-6)
    return _blend(base, p.x.new_tensor([1.0, 1.0, 1.0]), 0.95 * smoothstep(0.13, 0.07, spark))


def albedo(values: Values, p: Parts) -> tuple[Tensor, Tensor, Tensor]:
    """Return colour [N,M,3], gloss [N,M,1] and softness [N,M,1] of the nearest material.

    Materials are blended over _EDGE by a softmax of their distances. See `shade` for gloss and softness.
    """
    skin = skin_color(values, p)
    inside = torch.sigmoid((-0.0005 - p.slit) * 2500.0) * smoothstep(0.157, 0.140, p.z)
    inside = inside * smoothstep(0.2, 0.9, 1.0 - 0.8 * p.mouth_u)
    skin = _blend(skin, skin.new_tensor([0.22, 0.05, 0.05]), inside * smoothstep(0.07, 0.1, p.z))
    fine = torch.sin(150.0 * p.ax - 110.0 * p.z + 30.0 * p.y)
    coarse = torch.sin(60.0 * p.ax - 37.0 * p.z + 17.0 * p.y)
    hair = hair_tone(values) * (1.0 + 0.13 * fine * coarse)[..., None]
    cloth = hue_color(values["clothing_hue"], mix(0.16, 0.72, values["clothing_lightness"]), 0.38)
    layers = (
        (p.skin, skin, 0.17, 1.0),
        (p.hair, hair, 0.22, 0.25),
        (p.eye, eye_color(values, p), 0.0, 0.6),
        (p.teeth, skin.new_tensor([1.55, 1.51, 1.45]), 0.15, 0.4),
        (p.tongue, skin.new_tensor([0.70, 0.30, 0.30]), 0.10, 0.8),
        (p.cloth, cloth, 0.02, 0.15),
        (p.glasses, skin.new_tensor([0.09, 0.075, 0.075]), 0.35, 0.1),
    )
    weights = torch.softmax(torch.stack([-d for d, *_ in layers], dim=-1) * (1.0 / _EDGE), dim=-1)
    color = torch.zeros_like(skin)
    gloss = torch.zeros_like(p.x)
    soft = torch.zeros_like(p.x)
    for i, (_, paint, shine, seep) in enumerate(layers):
        color = color + weights[..., i : i + 1] * paint
        gloss = gloss + weights[..., i] * shine
        soft = soft + weights[..., i] * seep
    return color, gloss[..., None], soft[..., None]


def shade(
    values: Values, base: Tensor, gloss: Tensor, soft: Tensor, normal: Tensor, occlusion: Tensor
) -> Tensor:
    """Return the shaded colour [N,M,3] of an albedo `base` [N,M,3]; the viewer is at +z for every camera.

    A key light with wrapped diffuse shading, light from the sky, from below and from the front, a highlight.

    Args:
        values: the heads' parameters, of which `light_x` and `light_y` give the key light's direction.
        base: albedo [N,M,3].
        gloss: strength of the highlight, [N,M,1].
        soft: share of light scattered below the surface, [N,M,1]: wraps the diffuse light and reddens
            shadows.
        normal: unit normals [N,M,3].
        occlusion: ambient occlusion [N,M], 0 in the open.
    """
    key = torch.stack([values["light_x"], values["light_y"], torch.ones_like(values["light_x"])], dim=-1)
    key = torch.nn.functional.normalize(key, dim=-1)
    cosine = (normal * key).sum(dim=-1, keepdim=True)
    wrap = 0.15 + soft * base.new_tensor([0.45, 0.22, 0.15])
    diffuse = ((cosine + wrap) / (1.0 + wrap)).clamp_min(0.0)
    diffuse = diffuse * diffuse * (1.6 - 0.6 * diffuse)
    up = normal[..., 1:2]
    sky = base.new_tensor([0.47, 0.47, 0.49]) * (0.75 + 0.25 * up)
    sky = sky + base.new_tensor([0.06, 0.045, 0.035]) * (1.0 - up)
    fill = 0.10 * (0.5 + 0.5 * normal[..., 2:3])
    shadow = occlusion[..., None] * (1.0 - soft * base.new_tensor([0.42, 0.14, 0.10]))
    light = (0.69 * diffuse) * (1.0 - 0.55 * shadow) + (sky + fill) * (1.0 - 0.85 * shadow)
    half = torch.nn.functional.normalize(key + base.new_tensor([0.0, 0.0, 1.0]), dim=-1)
    shine = (normal * half).sum(dim=-1, keepdim=True).clamp_min(0.0)
    return base * light + gloss * (shine**28 * 0.55 + shine**8 * 0.15) * (1.0 - occlusion[..., None])
