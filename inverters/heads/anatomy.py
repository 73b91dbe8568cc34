"""Signed distances of a head's solid parts in design units: a head is 0.55 high, its face along +z."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from inverters.heads.shapes import capsule_yz, ellipsoid, mix, smooth_max, smooth_min, smoothstep, sphere

Values = Mapping[str, Tensor]

UNITS = 0.86
"""World units of EG3D per design unit."""

SKULL_Y, SKULL_Z = 0.075, -0.055
SKULL = (0.176, 0.222, 0.222)
EYE_Y, EYE_Z = 0.015, 0.118
MOUTH_Y = -0.122


@dataclass(frozen=True)
class Parts:
    """Signed distances of a head's parts in design units, and coordinates for paint, [N,M] each.

    Distances are negative inside. `x` and `y` are divided by the face's width and height; `ax` is |x|. `slit`
    and `lid` are distances of the openings of mouth and eyes, negative inside. `lid_top` is the height above
    the upper lid's edge, `hairline` the depth behind the hairline, `beard` where the beard grows (0 to 1),
    `mouth_u` |x| in half widths of the mouth, `bare_scalp` the hair's thickness, negative where there is
    none.
    """

    x: Tensor
    y: Tensor
    z: Tensor
    ax: Tensor
    skin: Tensor
    eye: Tensor
    teeth: Tensor
    tongue: Tensor
    hair: Tensor
    cloth: Tensor
    glasses: Tensor
    lips: Tensor
    slit: Tensor
    lid: Tensor
    lid_top: Tensor
    hairline: Tensor
    beard: Tensor
    mouth_u: Tensor
    bare_scalp: Tensor


def openness(values: Values) -> tuple[Tensor, Tensor]:
    """Return how far the lids and the mouth are open, [N,1] each in [0,1]."""
    closing = smoothstep(0.70, 0.985, values["blink"])
    return 1.0 - closing, smoothstep(0.50, 1.02, values["mouth_open"])


def eye_frame(values: Values) -> tuple[Tensor, Tensor]:
    """Return half the distance between the eyes and the radius of an eyeball, [N,1] each, in design units."""
    return mix(0.066, 0.077, values["eye_distance"]), mix(0.0345, 0.0405, values["eye_size"])


def parts(values: Values, points: Tensor) -> Parts:
    """Return the parts of N heads at world points [N,M,3]; `values` are the heads' parameters, [N,1] each."""
    scaled = points * (1.0 / UNITS)
    x = scaled[..., 0] / values["face_width"]
    y = scaled[..., 1] / values["face_height"]
    z = scaled[..., 2]
    ax = torch.sqrt(x * x + 1e-7)

    skull = ellipsoid(ax, y - SKULL_Y, z - SKULL_Z, *SKULL)
    skin = _flesh(values, ax, y, z, skull)
    skin, beard = _beard(values, ax, y, z, skin)
    mouth = _mouth(values, ax, y, z)
    skin = smooth_min(skin, mouth["lips"], 0.010)
    skin = smooth_max(skin, -torch.maximum(mouth["slit"], 0.108 - z), 0.006)
    skin, eye, lid, lid_top = _eyes(values, ax, y, z, skin)
    neck = capsule_yz(ax, y + 0.10, z + 0.035, -0.35, -0.05, 0.088, 0.100)
    skin = smooth_min(skin, neck, 0.05)
    hair, hairline, bare = _hair(values, x, ax, y, z, skull)
    return Parts(
        x=x, y=y, z=z, ax=ax, skin=skin, eye=eye, teeth=mouth["teeth"], tongue=mouth["tongue"], hair=hair,
        cloth=_cloth(ax, y, z), glasses=_glasses(values, ax, y, z), lips=mouth["lips"], slit=mouth["slit"],
        lid=lid, lid_top=lid_top, hairline=hairline, beard=beard, mouth_u=mouth["u"],
        bare_scalp=bare,
    )  # fmt: skip


def _flesh(values: Values, ax: Tensor, y: Tensor, z: Tensor, skull: Tensor) -> Tensor:
    """Distance of the skin: skull, face, jaw, chin, cheeks, brow ridge, nose and ears."""
    smile, drop = values["smile"], openness(values)[1] * 0.016
    jaw, chin = values["jaw"], values["chin"]
    face = ellipsoid(ax, y + 0.07, z - 0.03, 0.142 + 0.008 * values["cheeks"], 0.165, 0.138)
    skin = smooth_min(skull, face, 0.07)
    low = ellipsoid(ax, y + 0.125 + 0.4 * drop, z - 0.035, mix(0.086, 0.124, jaw), 0.105, 0.115)
    skin = smooth_min(skin, low, 0.06)
    tip_y, tip_z = mix(0.192, 0.212, chin) + drop, mix(0.104, 0.116, chin)
    tip = sphere(ax * 0.8, y + tip_y, z - tip_z, mix(0.034, 0.044, chin))
    skin = smooth_min(skin, tip, 0.06)
    lift = 0.006 * smile.clamp_min(0.0)
    cheek = sphere(ax - 0.083, y + 0.048 - lift, z - 0.098, mix(0.043, 0.055, values["cheeks"]) + lift)
    skin = smooth_min(skin, cheek, 0.06)
    ridge = ellipsoid(ax - 0.062, y - 0.066, z - 0.140, 0.060, 0.022, 0.026)
    skin = smooth_min(skin, ridge, 0.045)
    with_nose = smooth_min(skin, _nose(values, ax, y, z), 0.022)
    return torch.minimum(with_nose, smooth_min(skin, _ear(values, ax, y, z), 0.014))


def _nose(values: Values, ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Distance of the nose: bridge, tip and wings, less the nostrils."""
    length, width, bridge = values["nose_length"], values["nose_width"], values["nose_bridge"]
    ty, tz = mix(-0.040, -0.060, length), mix(0.190, 0.206, length)
    by, bz = 0.045, mix(0.138, 0.150, bridge)
    r0, r1 = mix(0.010, 0.013, width), mix(0.015, 0.018, width)
    nose = capsule_yz(ax, y - by, z - bz, ty - by, tz - bz, r0, r1)
    ball = sphere(ax, y - ty, z - tz, mix(0.018, 0.021, width))
    nose = smooth_min(nose, ball, 0.012)
    wing = ellipsoid(ax - mix(0.017, 0.026, width), y - ty + 0.008, z - tz + 0.024, 0.0125, 0.012, 0.018)
    nose = smooth_min(nose, wing, 0.012)
    hole = ellipsoid(ax - mix(0.010, 0.014, width), y - ty + 0.021, z - tz + 0.014, 0.0052, 0.008, 0.009)
    return smooth_max(nose, -hole, 0.006)


def _ear(values: Values, ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Distance of an ear: a tilted shell with a hollow, and a lobe."""
    size = mix(0.85, 1.15, values["ear_size"])
    ex, ey, ez = ax - 0.178, y - 0.0, z + 0.028
    # Turned about y so that the rim stands off the head, and about x so that its top leans back.
    u, w = 0.88 * ex + 0.47 * ez, 0.88 * ez - 0.47 * ex
    v, w = ey * 0.97 - w * 0.22, w * 0.97 + ey * 0.22
    shell = ellipsoid(u, v, w, 0.014 * size, 0.056 * size, 0.035 * size)
    bowl = ellipsoid(u - 0.013, v - 0.004, w - 0.004, 0.013 * size, 0.040 * size, 0.023 * size)
    lobe = sphere(u, v + 0.046 * size, w - 0.014, 0.0125 * size)
    return smooth_min(smooth_max(shell, -bowl, 0.008), lobe, 0.016)


def _mouth(values: Values, ax: Tensor, y: Tensor, z: Tensor) -> dict[str, Tensor]:
    """Distances of lips along a bent line, the slit between them, teeth and tongue; and `Parts.mouth_u`."""
    smile, full = values["smile"], mix(0.80, 1.40, values["lips"])
    open_ = openness(values)[1]
    half = mix(0.048, 0.060, values["mouth_width"]) + 0.010 * smile - 0.007 * open_
    u = ax / half
    u2 = (u * u).clamp_max(1.6)
    v = y - MOUTH_Y - smile * (0.022 * u2 - 0.006)
    bent = z - 0.162 + 0.013 * u2
    gap = (open_ * 0.021 + 0.0052 * smoothstep(0.45, 1.0, smile)) * (1.0 - u2)
    upper = ellipsoid(ax, v - 0.7 * gap - 0.0072 * full, bent, half, 0.0098 * full, 0.0155)
    lower = ellipsoid(ax, v + 1.3 * gap + 0.0088 * full, bent, half * 0.9, 0.0112 * full, 0.0175)
    lips = smooth_min(upper, lower, 0.004)
    slit = ((v + 0.3 * gap).abs() - gap + 0.0012 + 0.035 * (u2 - 0.70).clamp_min(0.0)) * 0.85
    inner = ellipsoid(ax, v - 0.010 * open_ - 0.002, z - 0.105, half * 0.85, 0.016, 0.043)
    tongue = ellipsoid(ax, v + 0.034 * open_ + 0.004, z - 0.110, 0.026, 0.012, 0.036)
    return {"lips": lips, "slit": slit, "teeth": inner, "tongue": tongue, "u": u}


def _eyes(
    values: Values, ax: Tensor, y: Tensor, z: Tensor, skin: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Skin with sockets and lids, eyeball, lid opening, and height above the upper lid's edge."""
    ex, radius = eye_frame(values)
    dx, dy, dz = ax - ex, y - EYE_Y, z - EYE_Z
    ball = sphere(dx, dy, dz, radius)
    socket = ellipsoid(dx + 0.006, dy - 0.004, dz - 0.054, 0.044, 0.028, 0.036)
    skin = smooth_max(skin, -socket, 0.03)
    skin = smooth_min(skin, ball - 0.0045, 0.012)
    open_, _ = openness(values)
    u = dx / radius
    arch = 1.0 - u * u
    v = dy / radius - 0.10 * values["eye_tilt"] * u
    squint = 0.10 * values["smile"].clamp_min(0.0)
    bottom = mix(-0.30, -0.40 + squint, open_)
    top = mix(-0.42, 0.47 + 0.25 * values["gaze_y"] - 0.3 * squint, open_)
    above, below = v - top * arch, bottom * arch - v
    lid = (torch.maximum(above, below) + 0.5 * torch.relu(-arch)) * radius * 0.75
    skin = smooth_max(skin, -torch.maximum(lid, -dz), 0.004)
    return skin, ball, lid, above * radius


def _beard(values: Values, ax: Tensor, y: Tensor, z: Tensor, skin: Tensor) -> tuple[Tensor, Tensor]:
    """Return the skin thickened by the beard, and where the beard grows, [N,M] in [0,1]."""
    # The upper edge falls from the sideburn to the corner of the mouth and passes below the lower lip.
    sweep = (ax * ax + 0.0004).sqrt()
    cheek_line = -0.150 + 0.52 * (sweep - 0.020).clamp_min(0.0) + 5.0 * (sweep - 0.045).clamp_min(0.0) ** 2
    front, above_neck = smoothstep(-0.055, 0.0, z), smoothstep(-0.285, -0.235, y)
    chin_area = smoothstep(-0.018, 0.030, cheek_line - y) * front * above_neck
    height = y - MOUTH_Y
    lip_side = smoothstep(0.0, 0.018, height - 0.010) * smoothstep(0.030, 0.008, (height - 0.018).abs())
    moustache = lip_side * smoothstep(0.072, 0.050, ax) * smoothstep(0.10, 0.13, z)
    area = torch.maximum(chin_area, moustache)
    return skin - (0.011 * smoothstep(0.60, 1.0, values["beard"])) * area, area


def _hair(
    values: Values, x: Tensor, ax: Tensor, y: Tensor, z: Tensor, skull: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Hair grown out of the skull: returns its distance, the depth behind the hairline, and its thickness."""
    length, part = values["hair_length"], values["hair_part"]
    long_ = smoothstep(0.25, 1.0, length)
    thickness = mix(-0.013, 0.056, values["hair_volume"])
    brow = mix(0.225, 0.110, values["fringe"]) + 0.42 * part * x
    locks = 0.0060 * torch.sin(82.0 * ax + 5.0 * part) + 0.0045 * torch.sin(157.0 * x + 9.0 * part)
    top = 0.80 * (y - brow) - 0.60 * (z - 0.14) + 1.2 * ax * ax - 0.006 + locks
    curtain = mix(-0.060, 0.040, smoothstep(0.0, 0.6, length))
    side = 0.78 * (curtain - z) + 0.8 * (ax - 0.135).clamp(-0.135, 0.02)
    hairline = smooth_max(top, side, 0.05)
    fall = 0.27 * long_ * smoothstep(0.18, 0.50, values["hair_volume"])
    down = y - SKULL_Y
    down = down - torch.maximum(torch.minimum(down, torch.zeros_like(down)), -fall)
    wave = mix(0.0015, 0.006, values["hair_wave"])
    phase = 62.0 * ax - 45.0 * z + 14.0 * y + 9.0 * part * x
    ripple = wave * torch.sin(phase + 1.6 * torch.sin(26.0 * y))
    ripple = ripple + 0.005 * torch.sin(23.0 * x - 19.0 * z + 9.0 * y)
    sides = mix(0.35, 1.0, smoothstep(-0.05, 0.20, y + 0.25 * smoothstep(0.0, 0.5, length)))
    rise = thickness * sides + (0.012 * part) * (x * 6.0).clamp(-1.0, 1.0) * values["hair_volume"]
    grown = smooth_min(0.55 * hairline, rise, 0.02).clamp_min(-0.03)
    shell = ellipsoid(ax, down, z - SKULL_Z, *SKULL)
    hair = smooth_max(shell - grown - ripple * smoothstep(0.0, 0.02, grown), -hairline - 0.012, 0.02)
    return hair * 0.85, hairline, grown


def _glasses(values: Values, ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Distance of glasses: two rounded rims, a bridge and temples.

    The tubes' radius grows with the parameter from a negative one, which leaves no glasses.
    """
    tube = mix(-0.010, 0.0046, smoothstep(0.42, 0.74, values["glasses"]))
    ex, _ = eye_frame(values)
    dx, dy, dz = ax - ex - 0.002, y - EYE_Y + 0.004, z - 0.183 + 1.8 * ax * ax
    qx, qy = dx.abs() - 0.021, dy.abs() - 0.012
    outside = torch.sqrt(qx.clamp_min(0.0) ** 2 + qy.clamp_min(0.0) ** 2 + 1e-9)
    rim = outside + torch.maximum(qx, qy).clamp_max(0.0) - 0.030
    ring = torch.sqrt(rim * rim + dz * dz + 1e-9)
    over = (ax - 0.025).clamp_min(0.0)
    bridge = torch.sqrt(over * over + (y - EYE_Y - 0.012) ** 2 + (z - 0.184) ** 2 + 1e-9)
    along = z.clamp(-0.035, 0.148)
    arm_x, arm_y, arm_z = ax - 0.129 - 0.30 * (0.148 - along), y - EYE_Y - 0.008, z - along
    temple = torch.sqrt(arm_x * arm_x + arm_y * arm_y + arm_z * arm_z + 1e-9)
    return (torch.minimum(torch.minimum(ring, bridge), temple) - tube) * 0.85


def _cloth(ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Distance of the clothes: shoulders and a collar."""
    body = ellipsoid(ax, y + 0.530, z + 0.075, 0.400, 0.190, 0.170)
    slope = ellipsoid(ax, y + 0.400, z + 0.085, 0.200, 0.085, 0.110)
    body = smooth_min(body, slope, 0.09)
    tilted = y + 0.336 - 0.38 * (z + 0.06)
    tilted = tilted - tilted.clamp(-0.08, 0.0)
    ring = torch.sqrt(ax * ax + (z + 0.065) ** 2 + 1e-9) - 0.109
    collar = torch.sqrt(ring * ring + (tilted * 0.7) ** 2 + 1e-9) - 0.013
    return smooth_min(body, collar, 0.012)
