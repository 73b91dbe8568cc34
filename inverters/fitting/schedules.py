"""Learning-rate schedules and the eased ramps of edits, as plain functions of progress."""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[int, int], float]
"""(step, steps in all) -> factor of the learning rate in [0,1]."""


def constant(step: int, steps: int) -> float:
    """No schedule, as in the joint stage of In-N-Out."""
    return 1.0


def warmup_cosine(step: int, steps: int, warmup: float = 0.05, rampdown: float = 0.25) -> float:
    """Linear warm-up over the first share of the run, cosine fall over the last (StyleGAN2's projector)."""
    t = step / max(steps, 1)
    fall = min(1.0, (1.0 - t) / rampdown) if rampdown > 0 else 1.0
    fall = 0.5 - 0.5 * math.cos(fall * math.pi)
    return fall * (min(1.0, (step + 1) / max(1.0, warmup * steps)) if warmup > 0 else 1.0)


def noise_ramp(step: int, steps: int, length: float = 0.75) -> float:
    """Share in [0,1] of the noise on w that is left: a square that ends at `length` of the run (StyleGAN2's
    projector).
    """
    return max(0.0, 1.0 - step / max(steps, 1) / length) ** 2


SCHEDULES: dict[str, Schedule] = {"constant": constant, "warmup_cosine": warmup_cosine}


def geometric(step: int, steps: int, start: float, stop: float) -> float:
    """A value that goes from `start` to `stop` in equal ratios."""
    return start * (stop / start) ** (step / max(steps - 1, 1))


def smoothstep(t: float) -> float:
    """3t^2 - 2t^3, clamped: rises from 0 at t = 0 to 1 at t = 1 with level ends."""
    t = min(1.0, max(0.0, t))
    return t * t * (3 - 2 * t)
