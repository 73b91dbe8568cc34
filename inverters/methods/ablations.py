"""Presets with a term left out, to show what it is for (In-N-Out, section 5.5 and table 3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from inverters.errors import UnknownNameError
from inverters.methods.hyperparameters import Preset


def _no_entropy(preset: Preset) -> Preset:
    """Without equation 6 and what stands beside it or in its place: nothing tells the blend to decide, nor
    the second field to leave alone what the codes explain.
    """
    joint = replace(preset.joint, lambda_entropy=0.0, lambda_area=0.0, residual_prior=None)
    return replace(preset, joint=joint)


def _no_latent_reg(preset: Preset) -> Preset:
    """Without equation 1 and L_delta, or in coordinates without the priors: codes go where they like."""
    free = {"lambda_delta": 0.0, "lambda_w": 0.0}
    return replace(
        preset,
        codes=replace(preset.codes, **free, prior=0.0, frame_prior=0.0),
        joint=replace(preset.joint, **free),
    )


ABLATIONS: dict[str, Callable[[Preset], Preset]] = {
    "no-entropy": _no_entropy,
    "no-latent-reg": _no_latent_reg,
}
"""By the name that follows a preset's and a slash: `draft/no-entropy`."""


def ablated(preset: Preset, names: tuple[str, ...]) -> Preset:
    """The preset without what these ABLATIONS leave out; its name says so. Raises UnknownNameError."""
    for name in names:
        if name not in ABLATIONS:
            raise UnknownNameError(f"unknown ablation '{name}'; known: {', '.join(ABLATIONS)}")
        preset = replace(ABLATIONS[name](preset), name=f"{preset.name}/{name}")
    return preset
