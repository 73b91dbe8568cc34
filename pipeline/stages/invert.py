"""Stage `invert`: the chosen method of `inverters` is given the crops and their cameras."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.report.json_values import finite, plain
from pipeline.request.settings import InvertSettings, Settings
from pipeline.stages.facts import Facts
from pipeline.stages.problem import NEEDS, problem_of
from pipeline.stages.run import StageRun
from pipeline.stages.stage import Stage
from storage import StageResult, StageWriter

if TYPE_CHECKING:
    from inverters.base import Inversion, InversionProblem, OnStep

PREFIX = "inversion."
"""Before the names of an inversion's arrays where it is stored beside others."""

_START_PRESET = "fast"
"""Preset of the encoder that a method begins at, whatever its own."""
_GROUPS = ("latent", "refiner", "seen", "cameras", "ood", "generator")


def invert(
    generator: Any,
    problem: InversionProblem,
    settings: InvertSettings,
    checkpoint_dir: Path | None,
    on_step: OnStep | None,
    start: Inversion | None = None,
    single: bool = False,
    refined: bool = True,
) -> Inversion:
    """Codes, and the out-of-distribution field where the method has one, for all rows of the problem.

    Continues from `checkpoint_dir` where an earlier run left off. The method begins at `start`.
    `single`: an encoder tells one w for all layers. `refined`: with its second stage, where it has one.
    """
    from inverters.methods.table import ENCODERS, find_method

    chosen = settings.of_method()
    if settings.method in ENCODERS:
        chosen = replace(chosen, file=settings.encoder or "", single=single, refined=refined)
    return find_method(settings.method)(
        generator,
        problem,
        settings=chosen,
        start=start,
        steps=settings.steps,
        seed=settings.seed,
        checkpoint_dir=checkpoint_dir,
        on_step=on_step,
    )


def store(writer: StageWriter, inversion: Inversion) -> None:
    """Make an inversion part of a cached result."""
    arrays, meta = to_arrays(inversion)
    for name, array in arrays.items():
        writer.put(f"{PREFIX}{name}", array)
    writer.meta |= meta


def stored_inversion(result: StageResult) -> Inversion:
    """The inversion in a cached result."""
    found = {k.removeprefix(PREFIX): a.read() for k, a in result.arrays.items() if k.startswith(PREFIX)}
    return from_arrays(found, result.meta)


def to_arrays(inversion: Inversion) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """An inversion as named arrays and JSON values, to be stored."""
    arrays = {"ws": _numpy(inversion.ws), "frames": np.asarray(inversion.frames, np.int64)}
    for group in _GROUPS:
        for name, tensor in getattr(inversion, group).items():
            arrays[f"{group}.{name}"] = _numpy(tensor)
    meta = {
        "method": inversion.method,
        "preset": inversion.preset,
        "fingerprint": inversion.fingerprint,
        "history": {k: [finite(v) for v in values] for k, values in inversion.history.items()},
        "info": plain(inversion.info),
    }
    return arrays, meta


def from_arrays(arrays: Mapping[str, npt.NDArray[Any]], meta: Mapping[str, Any]) -> Inversion:
    """The inverse of to_arrays."""
    import torch

    from inverters.base import Inversion

    groups: dict[str, dict[str, torch.Tensor]] = {group: {} for group in _GROUPS}
    for name, array in arrays.items():
        group, dot, rest = name.partition(".")
        if dot and group in groups:
            groups[group][rest] = torch.from_numpy(np.array(array))
    nan = math.nan
    return Inversion(
        method=meta["method"],
        preset=meta["preset"],
        fingerprint=meta["fingerprint"],
        frames=np.array(arrays["frames"]),
        ws=torch.from_numpy(np.array(arrays["ws"])),
        history={k: [nan if v is None else v for v in values] for k, values in meta["history"].items()},
        info=dict(meta["info"]),
        **groups,
    )


def _numpy(tensor: Any) -> npt.NDArray[Any]:
    return np.array(
        tensor.detach().cpu().numpy(), order="C"
    )  # ascontiguousarray would add an axis to scalars


def compute(run: StageRun) -> None:
    """Write the inversion of the clip."""
    folder, problem = run.checkpoint_dir, problem_of(run, with_masks=True)
    start = run.of(START) if START.name in run.needs else None
    store(
        run.writer,
        invert(run.models.working_generator, problem, run.settings.invert, folder, run.steps, start),
    )


def compute_start(run: StageRun) -> None:
    """Write the inversion of the encoder that the method begins at."""
    from inverters.fitting.spaces import find_space

    asked = run.settings.invert
    settings = InvertSettings(method=asked.start, preset=_START_PRESET, encoder=asked.encoder)
    single = not find_space(asked.space or ("w" if asked.method == "w" else "w+")).layered
    found = invert(
        run.models.working_generator, problem_of(run), settings, None, None, None, single, refined=False
    )
    store(run.writer, found)


def load(run: StageRun) -> Inversion:
    """The inversion as it was stored."""
    return stored_inversion(run.result)


def facts(facts: Facts) -> dict[str, Any]:
    """The preset's numbers, the masks, the weights of losses, and the generator."""
    return (
        facts.perceptual_weights
        | facts.p_statistics
        | facts.judge
        | {
            "preset": facts.method_settings,
            "occluder_masks": facts.occluder_masks,
            "generator": facts.fingerprint,
            "encoder": facts.encoder,
        }
    )


def start_facts(facts: Facts) -> dict[str, Any]:
    """The encoder's file, and the generator."""
    return {"generator": facts.fingerprint, "encoder": facts.encoder}


START = Stage(
    "start",
    version=1,
    load=load,
    compute=compute_start,
    reads=("invert.start", "invert.method", "invert.space", "generator"),
    unkeyed=("invert.encoder",),
    needs=NEEDS,
    facts=start_facts,
    on_device=True,
)


STAGE = Stage(
    "invert",
    version=5,
    load=load,
    compute=compute,
    reads=("invert", "generator", "precision"),
    needs=NEEDS,
    facts=facts,
    on_device=True,
)


def stages(settings: Settings) -> list[Stage[Inversion]]:
    """The stage of every request, and the encoder's before it where the method begins at one."""
    if settings.invert.begin(settings.generator) == "none":
        return [STAGE]
    return [START, replace(STAGE, needs=(*STAGE.needs, START.name))]
