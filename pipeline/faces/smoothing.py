"""Temporal smoothing and gap filling of per-frame values; nothing is mixed across a gap."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import UserError

Floats = npt.NDArray[np.floating[Any]]

KINDS = ("box", "gaussian", "none")


def runs(present: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield start and stop of every run of True in `present` [T]."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], present.astype(np.int8), [0]])))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist())


def kernel(kind: str, window: float) -> Floats:
    """Kernel weights [2r+1], sum 1: `box` of `window` frames, `gaussian` of sigma `window`, or `none`."""
    if kind == "box":
        # a fractional window weights its two outermost frames by the remaining fraction
        reach = max((window - 1) / 2, 0.0)
        radius = int(np.ceil(reach))
        weights = np.ones(2 * radius + 1)
        if radius > reach:
            weights[[0, -1]] = 1 - (radius - reach)
    elif kind == "gaussian":
        radius = int(np.ceil(3 * window))
        weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / max(window, 1e-6)) ** 2)
    elif kind == "none":
        weights = np.ones(1)
    else:
        raise UserError(f"unknown smoothing '{kind}'; known: {', '.join(KINDS)}")
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def smooth(values: Floats, present: npt.NDArray[np.bool_], kind: str, window: float) -> Floats:
    """Smooth `values` [T,...] along time within each run of `present` [T], replicating the run's ends.

    In-N-Out's sliding window (section 5, a centred mean of 3 frames) is `box` with window 3. Returns float64
    [T,...]; rows that are not present are unchanged. Raises UserError for an unknown `kind`.
    """
    weights = kernel(kind, window)
    radius = len(weights) // 2
    out = np.array(values, dtype=np.float64)
    if radius == 0:
        return out
    flat = out.reshape(len(out), -1)
    for start, stop in runs(present):
        padded = np.pad(flat[start:stop], ((radius, radius), (0, 0)), mode="edge")
        total = np.zeros_like(flat[start:stop])
        for k, weight in enumerate(weights):
            total += weight * padded[k : k + stop - start]
        flat[start:stop] = total
    return flat.reshape(out.shape)


def fill_gaps(
    values: Floats, present: npt.NDArray[np.bool_], times: Floats, max_gap: float
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Interpolate missing rows of `values` [T,...] linearly over gaps of at most `max_gap` seconds.

    times [T] in seconds. A gap's length is the time from its first missing frame to the next present one.
    Gaps at the ends of the clip stay. Returns the values and a mask [T] of the interpolated rows.
    """
    out = np.array(values)
    made = np.zeros(len(out), dtype=bool)
    have = np.flatnonzero(present)
    for before, after in itertools.pairwise(have):
        if after == before + 1 or times[after] - times[before + 1] > max_gap + 1e-9:
            continue
        for t in range(before + 1, after):
            share = (times[t] - times[before]) / (times[after] - times[before])
            out[t] = (1 - share) * out[before] + share * out[after]
            made[t] = True
    return out, made
