"""Named expressions to the 52 face actions, which carry the names of MediaPipe's blendshapes."""

from __future__ import annotations

import torch
from torch import Tensor

from inverters.people.params import Values
from inverters.people.ramps import ramp

Actions = dict[str, Tensor]
"""Strengths [N] in [0,1] by the name of the action."""


def actions_of(values: Values) -> Actions:
    """Return the face actions of people with these values, [N,1] each.

    A smile takes the upper lip, the jaw, the cheeks and the lower lids with it; without them it shows no
    teeth. Actions of several expressions add up, and end at 1.
    """
    v = {name: values[name].flatten() for name in _READ}
    smile, down = v["smile"].clamp_min(0.0), (-v["smile"]).clamp_min(0.0)
    broad = ramp(smile, 0.3, 1.0)
    jaw, blink = ramp(v["mouth_open"], 0.55, 1.0), ramp(v["blink"], 0.75, 1.0)
    frown, surprise = ramp(v["frown"], 0.75, 1.0), ramp(v["surprise"], 0.8, 1.0)
    pucker, squint = ramp(v["pucker"], 0.8, 1.0), ramp(v["squint"], 0.75, 1.0)
    up, low = v["brows"].clamp_min(0.0), (-v["brows"]).clamp_min(0.0)
    right, left = v["gaze_x"].clamp_min(0.0), (-v["gaze_x"]).clamp_min(0.0)
    over, under = v["gaze_y"].clamp_min(0.0), (-v["gaze_y"]).clamp_min(0.0)
    found: Actions = {
        "jawOpen": 0.9 * jaw + 0.10 * broad + 0.30 * surprise,
        "browInnerUp": up + 0.85 * surprise,
        "mouthFunnel": 0.22 * surprise + 0.45 * pucker,
        "mouthPucker": pucker,
        "mouthShrugUpper": 0.1 * frown,
    }
    both = {
        "mouthSmile": 0.9 * smile,
        "mouthUpperUp": 0.7 * broad + 0.3 * jaw,
        "mouthLowerDown": 0.3 * broad + 0.15 * jaw,
        "cheekSquint": 0.5 * smile + 0.3 * squint,
        "mouthFrown": 1.2 * down + 0.8 * frown,
        "eyeBlink": 0.88 * blink,
        "eyeSquint": 0.2 * smile + 0.2 * frown + 0.55 * squint,
        "eyeWide": (0.45 + 0.45 * surprise) * (1.0 - blink),
        "browOuterUp": up + 0.85 * surprise,
        "browDown": low + 0.85 * frown,
        "noseSneer": 0.3 * frown,
        "eyeLookUp": over,
        "eyeLookDown": 0.7 * under,
    }
    for name, strength in both.items():
        found |= {f"{name}Left": strength, f"{name}Right": strength}
    # Left and right are the person's: the image's right is the person's left.
    found |= {"eyeLookOutLeft": right, "eyeLookInRight": right}
    found |= {"eyeLookOutRight": left, "eyeLookInLeft": left}
    # Open lips cannot be both pushed forward and drawn wide. Lids follow the eyes down by themselves.
    for side in ("Left", "Right"):
        found[f"mouthSmile{side}"] = found[f"mouthSmile{side}"] * (1.0 - 0.5 * pucker)
    return {name: torch.as_tensor(strength).clamp(0.0, 1.0) for name, strength in found.items()}


_READ = (
    *("smile", "mouth_open", "blink", "gaze_x", "gaze_y", "brows", "frown", "surprise", "pucker", "squint"),
)
