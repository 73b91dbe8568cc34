"""The codes of a clip in the latent space that the settings name: the first stage of most methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inverters.base import Inversion
from inverters.fitting.code_settings import CodeSettings
from inverters.fitting.codes import CodeFit, one_layer
from inverters.fitting.loop import Run
from inverters.fitting.nearest_z import nearest_z
from inverters.fitting.space_fit import SpaceFit
from inverters.fitting.spaces import LayerCodes, find_space
from inverters.fitting.targets import Targets

_CAMERAS = ("cam2world", "intrinsics")


@dataclass(frozen=True)
class FittedCodes:
    """Codes of all rows, with what belongs to them."""

    ws: Tensor
    """[K,num_ws,w_dim]."""
    cameras: dict[str, Tensor]
    """As in `Inversion.cameras`."""
    latent: dict[str, Tensor]
    """As in `Inversion.latent`."""
    info: dict[str, Any]
    """The space, and what `LayerCodes.of` reads; for `Inversion.info`."""
    perceptual: str
    """Name of the perceptual loss."""

    @property
    def layer_codes(self) -> LayerCodes:
        """Base codes and offsets of styles of all rows."""
        return LayerCodes.of(self.latent, self.info)


def found_codes(start: Inversion, device: torch.device) -> FittedCodes:
    """Return the codes of an inversion, for a method that begins behind their fit."""
    latent = {name: tensor.to(device) for name, tensor in start.latent.items()}
    info: dict[str, Any] = {name: start.info[name] for name in ("space", "skip") if name in start.info}
    return FittedCodes(start.ws.to(device), start.cameras, latent, info, "none")


def fitted_codes(
    run: Run,
    generator: Any,
    targets: Targets,
    settings: CodeSettings,
    steps: int,
    seed: int,
    start: Inversion | None = None,
) -> FittedCodes:
    """Fit the codes, or take them from the checkpoint, and keep them for the stages after it.

    Args:
        run: the loop that runs the fit and holds its checkpoint.
        generator: the generator, fixed.
        targets: the frames.
        settings: of the fit.
        steps: number of steps.
        seed: of the random draws.
        start: the inversion at whose codes the fit begins.

    Raises:
        InverterError: the fit cannot begin from `start`.
    """
    begin = None if start is None else _begin(generator, start, settings.space)
    plain = settings.space in ("w", "w+")
    fit = (CodeFit if plain else SpaceFit)(generator, targets, settings, steps, seed, begin)
    if run.is_past(fit.name):
        found = run.results(fit.name)
    else:
        run.run(fit)
        found = {"ws": fit.all_ws()} | fit.cameras() | fit.latent()
    run.keep(fit.name, steps, found)
    found = {name: tensor.to(targets.device) for name, tensor in found.items()}
    ws = found.pop("ws")
    cameras = {name: found.pop(name) for name in _CAMERAS if name in found}
    info = {} if plain else {"space": settings.space, "skip": settings.skip}
    return FittedCodes(ws, cameras, found, info, fit.perceptual_name)


def _begin(generator: Any, start: Inversion, space: str) -> Tensor:
    """The rows of z or w at which the fit begins: an inversion's, or the z whose w are nearest to its w."""
    kind = find_space(space)
    if not kind.bounded:
        return start.ws
    if "z" in start.latent:
        return start.latent["z"]
    layers = start.ws if kind.layered else one_layer(start.ws, kind.name)
    z = nearest_z(generator, layers.to(next(generator.parameters()).device))
    return z.expand(-1, generator.num_ws, -1)
