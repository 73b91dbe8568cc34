"""Shares of the way from one number to another, for tensors and for single numbers."""

from __future__ import annotations

from torch import Tensor


def ramp(value: Tensor, low: float, high: float) -> Tensor:
    """Return the share of the way from `low` to `high`, in [0,1]; linear; `low` may be the greater."""
    return ((value - low) / (high - low)).clamp(0.0, 1.0)


def rise(value: Tensor, low: float, high: float) -> Tensor:
    """Return the share of the way from `low` to `high`, in [0,1]; a smooth step; `low` may be the greater."""
    t = ramp(value, low, high)
    return t * t * (3.0 - 2.0 * t)


def ramp_of(value: float, low: float, high: float) -> float:
    """Return `ramp` of a number."""
    return min(1.0, max(0.0, (value - low) / (high - low)))


def rise_of(value: float, low: float, high: float) -> float:
    """Return `rise` of a number."""
    t = ramp_of(value, low, high)
    return t * t * (3.0 - 2.0 * t)
