"""Scripts of talking clips: a person's parameters, camera, crop window and occluder state of every frame."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from inverters.errors import UnknownNameError
from inverters.people.occluders import OCCLUDERS, animate_occluder
from inverters.people.params import index, sample_scores
from inverters.rendering.cameras import FOCAL, look_at

MAX_YAW, MAX_PITCH = 0.36, 0.13
"""Half ranges in radians of a clip's cameras; that of the yaw can be changed."""
WIDEST_YAW = 1.2
"""Greatest half range of the yaw, in radians."""

_CALM = {
    "glasses": -1.2,
    "gaze_x": 0.0,
    "gaze_y": 0.0,
    "frown": -1.0,
    "surprise": -1.0,
    "pucker": -1.0,
    "squint": -1.0,
}
"""Scores that replace those of a random person: no glasses, which would be a second occluder; level gaze."""
_REST = {"smile": -0.25, "mouth_open": -0.15, "blink": -1.0}
"""Scores of the face at rest: lips closed, eyes open, a slight smile."""


@dataclass(frozen=True)
class ClipScript:
    """Every frame of a clip; draw it with `clip_render.pose` and `clip_render.draw_clean`.

    Attributes:
        seed: of the clip.
        fps: frames a second.
        size: (H, W) of the frames in pixels.
        scores: [T,P], the person's parameters.
        cam2world: [T,4,4].
        intrinsics: [T,3,3] of the whole frame, divided by W and H.
        window: [T,3], centre x, centre y and width in pixels of the square crop that is exactly an EG3D
            camera.
        speech: [T] in [0,1], how far speech opens the mouth.
        occluder: one of OCCLUDERS, or None.
        state: the occluder's parameters by name, [T,1] each.
    """

    seed: int
    fps: float
    size: tuple[int, int]
    scores: Tensor
    cam2world: Tensor
    intrinsics: Tensor
    window: Tensor
    speech: Tensor
    occluder: str | None = None
    state: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.scores)

    def crop_affine(self, size: int) -> Tensor:
        """Return the true crop of every frame, [T,2,3] float64: frame pixels to pixels of a `size` crop."""
        cx, cy, width = self.window.double().unbind(-1)
        scale = size / width
        zero = torch.zeros_like(scale)
        rows = (scale, zero, size / 2 - cx * scale, zero, scale, size / 2 - cy * scale)
        return torch.stack(rows, -1).reshape(-1, 2, 3)


def talking_clip(
    seed: int,
    frames: int,
    fps: float,
    occluder: str | None = None,
    size: tuple[int, int] = (288, 384),
    crop: float | None = None,
    yaw: float = MAX_YAW,
) -> ClipScript:
    """Return the script of a person who talks, blinks, smiles and turns; the same for the same arguments.

    Args:
        seed: of identity, motion and the occluder's looks, each drawn apart: another occluder does not change
            the person or its motion.
        frames: number of frames T, at least 1.
        fps: frames a second, above 0.
        occluder: one of OCCLUDERS, or None.
        size: (H, W) of the frames in pixels.
        crop: width of the EG3D crop in pixels, which a slow zoom varies by 1.5 %; None takes 8/9 of the
            shorter side.
        yaw: the widest turn to either side, in radians from 0 to 1.2.

    Raises:
        ValueError: no frames, a frame rate or size that is not above 0, or a yaw outside its range.
        UnknownNameError: an unknown occluder.
    """
    if frames < 1 or fps <= 0 or min(size) < 1:
        raise ValueError(
            f"a clip needs frames, a frame rate and a size above zero, not {frames}, {fps} and {size}"
        )
    if not 0 <= yaw <= WIDEST_YAW:
        raise ValueError(f"the widest turn goes from 0 to {WIDEST_YAW:g} radians, not {yaw:g}")
    if occluder is not None and occluder not in OCCLUDERS:
        raise UnknownNameError(f"unknown occluder '{occluder}'; known: {', '.join(OCCLUDERS)}")
    who, how, what = (torch.Generator().manual_seed(3 * seed + k) for k in range(3))
    times = torch.arange(frames, dtype=torch.float64) / fps
    speech = speech_level(times, how)
    scores = _identity(who).expand(frames, -1).clone()
    for name, column in _expressions(times, speech, how).items():
        scores[:, index(name)] = column.float()
    turn, pitch = _head_turn(times, speech, how)
    window = _window(times, turn, speech, size, crop or min(size) * 8 / 9, how)
    return ClipScript(
        seed=seed,
        fps=fps,
        size=size,
        scores=scores,
        cam2world=look_at(yaw * turn, pitch).float(),
        intrinsics=window_intrinsics(window, size),
        window=window.float(),
        speech=speech.float(),
        occluder=occluder,
        state=animate_occluder(occluder, times, what) if occluder else {},
    )


def window_intrinsics(window: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the intrinsics [T,3,3] of frames `size` (H, W) whose windows [T,3] are EG3D crops.

    The camera stays the same; focal length and principal point put its image into the window.
    """
    height, width = size
    cx, cy, crop = window.double().unbind(-1)
    matrix = torch.zeros(len(window), 3, 3, dtype=torch.float64)
    matrix[:, 0, 0], matrix[:, 1, 1] = FOCAL * crop / width, FOCAL * crop / height
    matrix[:, 0, 2], matrix[:, 1, 2], matrix[:, 2, 2] = cx / width, cy / height, 1.0
    return matrix.float()


def wander(times: Tensor, generator: torch.Generator, slow: float = 0.25, fast: float = 0.7) -> Tensor:
    """Return a smooth random path [T] in [-1,1]: three sines of random phase at `slow` to `fast` Hz."""
    rates = torch.linspace(slow, fast, 3, dtype=torch.float64)
    rates = rates * (1 + 0.2 * (torch.rand(3, generator=generator, dtype=torch.float64) - 0.5))
    phases = 2 * math.pi * torch.rand(3, generator=generator, dtype=torch.float64)
    weights = torch.tensor([0.62, 0.27, 0.11], dtype=torch.float64)
    return (weights * torch.sin(2 * math.pi * rates * times[:, None] + phases)).sum(1)


def pulse(times: Tensor, centre: float | Tensor, width: float | Tensor) -> Tensor:
    """Return a raised-cosine bump [T]: 1 at `centre`, 0 from `width` / 2 seconds on either side of it."""
    phase = ((times - centre) / width).clamp(-0.5, 0.5)
    return 0.5 + 0.5 * torch.cos(2 * math.pi * phase)


def speech_level(times: Tensor, generator: torch.Generator) -> Tensor:
    """Return how far speech opens the mouth at `times` [T], in [0,1]: about four syllables a second."""
    level = torch.zeros_like(times)
    at, end = -0.3, float(times[-1]) + 0.5
    while at < end:
        draw = torch.rand(4, generator=generator, dtype=torch.float64)
        length = float(0.17 + 0.13 * draw[0])
        level = torch.maximum(level, (0.45 + 0.55 * draw[1]) * pulse(times, at + length / 2, 1.25 * length))
        at += length + (float(0.12 + 0.25 * draw[3]) if draw[2] < 0.16 else 0.0)
    return level


def _identity(generator: torch.Generator) -> Tensor:
    """Scores [1,P] of a person within 1.5 standard deviations, with hair, without glasses, at rest."""
    scores = (0.85 * sample_scores(1, generator)).clamp(-1.5, 1.5)
    for name, value in {**_CALM, **_REST}.items():
        scores[:, index(name)] = value
    length = index("hair_length")
    scores[:, length] = scores[:, length].clamp_min(-0.7)
    return scores


def _expressions(times: Tensor, speech: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """Scores [T] by name of the parameters that move in a talking face."""
    blink = torch.zeros_like(times)
    at = float(0.3 + 0.7 * torch.rand(1, generator=generator))
    while at < float(times[-1]) + 0.3:
        blink = torch.maximum(blink, pulse(times, at, 0.36))
        at += float(1.1 + 2.2 * torch.rand(1, generator=generator))
    return {
        "mouth_open": _REST["mouth_open"] + 1.0 * speech,
        "smile": _REST["smile"] + 0.45 * wander(times, generator),
        "blink": _REST["blink"] + 3.6 * blink,
        "gaze_x": 0.75 * wander(times, generator, 0.3, 0.9),
        "gaze_y": 0.4 * wander(times, generator, 0.3, 0.9),
        "brows": 0.1 + 0.55 * wander(times, generator, 0.3, 0.8) + 0.35 * (speech - 0.4) - 0.4 * blink,
    }


def _head_turn(times: Tensor, speech: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Turn [T] in [-1,1] of the widest yaw, and pitch [T] in radians: slow turns, and a nod with speech."""
    turn = wander(times, generator, 0.32, 0.6)
    nod = 0.18 * (speech - speech.mean())
    return turn, MAX_PITCH * (0.75 * wander(times, generator, 0.3, 0.7) - nod).clamp(-1.0, 1.0)


def _window(
    times: Tensor,
    turn: Tensor,
    speech: Tensor,
    size: tuple[int, int],
    crop: float,
    generator: torch.Generator,
) -> Tensor:
    """Crop window [T,3] in pixels: centre x, centre y, width.

    It drifts, and follows the turn of the head a little.
    """
    height, width = size
    room_x, room_y = max(width - crop, 0.0) / 2, max(height - crop, 0.0) / 2
    sway = 0.55 * wander(times, generator) - 0.3 * turn
    bob = 0.6 * wander(times, generator, 0.3, 0.8) + 0.25 * (speech - speech.mean())
    zoom = 1 + 0.015 * wander(times, generator, 0.2, 0.4)
    x = width / 2 + min(room_x, 0.12 * crop) * sway.clamp(-1, 1)
    y = height / 2 + min(room_y, 0.05 * crop) * bob.clamp(-1, 1)
    return torch.stack([x, y, crop * zoom], -1)
