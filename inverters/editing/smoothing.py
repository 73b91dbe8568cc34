"""Temporal smoothing of codes, against flicker of a fit of single frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from inverters.base import I64, Inversion
from inverters.errors import UnknownNameError
from inverters.fitting.spaces import retracted

CAUSAL = {-2: 0.125, -1: 0.375, 0: 0.5}
"""Weights of frames t-2, t-1, t: (0.25, 0.75, 1) / 2, as `--smooth_out` of In-N-Out's release."""
GAUSSIAN_SIGMA = 0.75
"""In frames, as VIVE3D smooths its edited codes."""
GAUSSIAN = {k: float(np.exp(-0.5 * (k / GAUSSIAN_SIGMA) ** 2)) for k in range(-3, 4)}
KINDS = ("none", "causal", "gaussian")


def smooth_in_time(values: Tensor, frames: I64 | Sequence[int], kind: str) -> Tensor:
    """Return rows averaged with those of neighbouring frames; the given ones are not changed.

    `causal` is the moving average of In-N-Out's release, which keeps the first two frames of a run.
    `gaussian` is VIVE3D's; weights beyond the ends of a run are given to the rows within it.

    Args:
        values: [K,...].
        frames: [K], ascending, the source's frame of each row. Rows mix only within a run of frames without a
            gap.
        kind: one of KINDS.

    Returns:
        [K,...]; `values` itself for `none`.

    Raises:
        UnknownNameError: another kind.
    """
    if kind not in KINDS:
        raise UnknownNameError(f"unknown smoothing of codes '{kind}'; known: {', '.join(KINDS)}")
    if kind == "none":
        return values
    kernel = CAUSAL if kind == "causal" else GAUSSIAN
    numbers, rows = np.asarray(frames), np.arange(len(values))
    added, mass = torch.zeros_like(values), np.zeros(len(values))
    for offset, weight in kernel.items():
        other = np.clip(rows + offset, 0, len(rows) - 1)
        there = (other == rows + offset) & (numbers[other] - numbers == offset)
        mass += weight * there
        share = torch.from_numpy(weight * there).to(values).reshape(-1, *[1] * (values.ndim - 1))
        # As differences, so that constant values are kept to the bit.
        added += share * (values[torch.from_numpy(other)] - values)
    scale = 1.0 / mass if kind == "gaussian" else (mass > 1 - 1e-9).astype(np.float64)
    return values + added * torch.from_numpy(scale).to(values).reshape(-1, *[1] * (values.ndim - 1))


def smooth_inversion(inversion: Inversion, kind: str) -> Inversion:
    """Return the inversion with codes, what belongs to them, and phi smoothed by `smooth_in_time`.

    It is the inversion itself for `none`. Rows of z are retracted.

    Edits are added afterwards, so that their bounds in time are not smoothed.
    """
    if kind == "none":
        return inversion
    ood = dict(inversion.ood)
    if ood:
        ood["phi"] = smooth_in_time(ood["phi"], inversion.frames, kind)
    latent = {name: smooth_in_time(rows, inversion.frames, kind) for name, rows in inversion.latent.items()}
    if "z" in latent:
        latent["z"] = retracted(latent["z"])
    return replace(inversion, ws=smooth_in_time(inversion.ws, inversion.frames, kind), latent=latent, ood=ood)
