"""Learning-rate schedules as functions of progress, and numbers of steps."""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[int, int], float]
"""(step, steps in all) -> factor of the learning rate in [0,1]."""


def constant(step: int, steps: int) -> float:
    """Constant learning rate, as in the joint stage of In-N-Out."""
    return 1.0


def warmup_cosine(step: int, steps: int, warmup: float = 0.05, rampdown: float = 0.25) -> float:
    """Linear warm-up over the first share of the run, cosine fall over the last (StyleGAN2's projector)."""
    t = step / max(steps, 1)
    fall = min(1.0, (1.0 - t) / rampdown) if rampdown > 0 else 1.0
    fall = 0.5 - 0.5 * math.cos(fall * math.pi)
    return fall * (min(1.0, (step + 1) / max(1.0, warmup * steps)) if warmup > 0 else 1.0)


def noise_ramp(step: int, steps: int, length: float = 0.75) -> float:
    """Share in [0,1] of the noise on w at this step (StyleGAN2's projector).

    Quadratic, and zero from `length` of the run on.
    """
    return max(0.0, 1.0 - step / max(steps, 1) / length) ** 2


SCHEDULES: dict[str, Schedule] = {"constant": constant, "warmup_cosine": warmup_cosine}


def geometric(step: int, steps: int, start: float, stop: float) -> float:
    """Value that changes from `start` to `stop` by equal ratios."""
    return start * (stop / start) ** (step / max(steps - 1, 1))


def smoothstep(t: float) -> float:
    """3t^2 - 2t^3 with t clamped to [0,1]."""
    t = min(1.0, max(0.0, t))
    return t * t * (3 - 2 * t)


def step_count(steps: int, epochs: int, growth: float, frames: int, per_step: int) -> int:
    """Return the number of steps for a clip of `frames` frames.

    With `epochs`: so many visits of every frame, `per_step` frames a step. Else `steps`, times (frames / 30)
    ** growth for more than 30 frames.
    """
    if epochs:
        return epochs * -(-frames // min(per_step, frames))
    return round(steps * max(1.0, frames / 30) ** growth)


def split_steps(first: int, second: int, steps: int | None) -> tuple[int, int]:
    """Return the steps of two stages. `steps` replaces their sum in the same proportion, at least 1 each."""
    if steps is None:
        return first, second
    share = first / (first + second)
    first = min(max(1, round(steps * share)), max(1, steps - 1))
    return first, max(1, steps - first)
