"""Temporal smoothing and gap filling of per-frame values, in seconds, within a run of frames."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.clip import F64, I64
from pipeline.errors import UserError

Floats = npt.NDArray[np.floating[Any]]

KINDS = ("box", "gaussian", "none")
_REACH_OF_GAUSSIAN = 2.5
"""Standard deviations beyond which a Gaussian's weights are left out."""


def weights_at(apart: Floats, kind: str, window: float) -> F64:
    """Weights of values `apart` seconds away, 1 at 0 and 0 out of reach.

    `box` is `window` seconds wide; `gaussian` has the variance of that box. Raises UserError for another
    kind.
    """
    if kind not in KINDS:
        raise UserError(f"unknown smoothing '{kind}'; known: {', '.join(KINDS)}")
    away = np.abs(np.asarray(apart, np.float64))
    if kind == "none" or window < 1e-6:
        return np.asarray(away == 0, np.float64)
    if kind == "box":
        return np.asarray(away <= window / 2 + 1e-9, np.float64)
    sigma = window / np.sqrt(12)
    weights: F64 = np.where(away <= _REACH_OF_GAUSSIAN * sigma, np.exp(-0.5 * (away / sigma) ** 2), 0.0)
    return weights


def smooth(
    values: Floats,
    times: Floats,
    run: npt.NDArray[np.integer[Any]],
    kind: str,
    window: float,
    reach: Floats | float | None = None,
    degree: int = 1,
) -> F64:
    """Smooth `values` [N,...] over `times` [N] (increasing, seconds), within rows of the same `run` [N].

    Local linear regression (Fan and Gijbels 1996, section 3.2): the weighted line through a row's neighbours,
    at the row's own time. Its weights are even in time inside a run, so there is no lag, and steady motion is
    kept, also at the ends.

    reach: a number, or one a row [N], in the unit of `values`. A correction d, as long as its last axis, is
    scaled by exp(-(|d| / reach)^2): small ones, which are jitter, are made; longer ones are real motion, and
    die out. None makes all. degree: 0 takes the weighted mean in the place of the line.

    Returns float64 [N,...]. Equal neighbours stay equal to the bit. Raises UserError for an unknown `kind`.
    """
    own = np.asarray(values, np.float64)
    flat, times = own.reshape(len(own), -1), np.asarray(times, np.float64)
    none = np.zeros(len(own))
    moments = [none + weights_at(np.zeros(1), kind, window), none.copy(), none.copy()]
    around, slope = np.zeros_like(flat), np.zeros_like(flat)
    for offset in range(1, len(own)):
        apart = times[offset:] - times[:-offset]
        weight = weights_at(apart, kind, window) * (run[offset:] == run[:-offset])
        if not weight.any():
            break
        difference = weight[:, None] * (flat[offset:] - flat[:-offset])
        for side, sign in ((slice(None, -offset), 1.0), (slice(offset, None), -1.0)):
            moments[0][side] += weight
            moments[1][side] += sign * weight * apart
            moments[2][side] += weight * apart**2
            around[side] += sign * difference
            slope[side] += apart[:, None] * difference
    total, first, second = moments
    spread = total * second - first**2
    lone = spread <= 1e-12 * total * second + 1e-30
    scale = np.where(lone, 1.0, spread)
    if degree == 0:
        change = around / total[:, None]
    else:
        change = (second[:, None] * around - first[:, None] * slope) / scale[:, None]
        change[lone] = 0.0
    change = change.reshape(own.shape)
    if reach is not None:
        change *= _kept(change, reach)
    smoothed: F64 = own + change
    return smoothed


def _kept(change: F64, reach: Floats | float) -> F64:
    """Share in [0,1] of each correction that is made, see `smooth`."""
    length = np.linalg.norm(change, axis=-1, keepdims=True)
    bound = np.asarray(reach, np.float64)
    if bound.ndim:
        bound = bound.reshape(-1, *[1] * (length.ndim - 1))
    return np.asarray(np.exp(-np.square(length / np.maximum(bound, 1e-12))))


def fill_gaps(
    values: Floats, present: npt.NDArray[np.bool_], times: Floats, max_gap: float, shot: I64
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Interpolate missing rows of `values` [T,...] linearly over gaps of at most `max_gap` seconds.

    times [T] in seconds; shot [T]: a gap between rows of two shots stays. A gap's length is the time from its
    first missing frame to the next present one. Gaps at the ends of the clip stay. Returns the values and a
    mask [T] of the interpolated rows.
    """
    out = np.array(values)
    made = np.zeros(len(out), dtype=bool)
    have = np.flatnonzero(present)
    for before, after in itertools.pairwise(have):
        if after == before + 1 or times[after] - times[before + 1] > max_gap + 1e-9:
            continue
        if shot[before] != shot[after]:
            continue
        for t in range(before + 1, after):
            share = (times[t] - times[before]) / (times[after] - times[before])
            out[t] = (1 - share) * out[before] + share * out[after]
            made[t] = True
    return out, made
