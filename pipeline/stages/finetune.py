"""Stage `finetune`: the super-resolution module is fitted; then the clip is rendered and measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.request.settings import FinetuneSettings, InvertSettings, Settings
from pipeline.stages import invert as invert_stage
from pipeline.stages.pixels import BATCH, to_bytes
from pipeline.stages.problem import NEEDS, problem_of
from pipeline.stages.run import StageRun
from pipeline.stages.stage import Stage
from storage import ArrayWriter, StageWriter
from storage.row_blocks import RowBlocks, Rows

if TYPE_CHECKING:
    from inverters.base import Inversion, InversionProblem, OnStep


def finetune(
    generator: Any,
    problem: InversionProblem,
    inversion: Inversion,
    settings: FinetuneSettings,
    invert_settings: InvertSettings,
    checkpoint_dir: Path | None,
    on_step: OnStep | None,
) -> Inversion:
    """In-N-Out section 4.5, eq. 9: tuned super-resolution weights; unchanged where it is switched off."""
    if not settings.enabled:
        return inversion
    from inverters.fitting.superresolution import finetune as tune
    from inverters.methods.table import find_method, settings_of

    method = find_method(invert_settings.method)

    tuned: Inversion = tune(
        generator,
        problem,
        inversion,
        settings=settings_of(method, invert_settings.preset, invert_settings.without).tune,
        steps=settings.steps,
        seed=invert_settings.seed,
        checkpoint_dir=checkpoint_dir,
        on_step=on_step,
    )
    return tuned


def reconstruct(
    renderer: Any,
    problem: InversionProblem,
    on_rows: Callable[[int, int], None] | None = None,
    first: int = 0,
) -> Iterator[Rows]:
    """Render every row from `first` on as it was found, some at a time, and measure it against its crop.

    Rows have `reconstruction` uint8 [n,S,S,3], `psnr`, `ssim` and, with its weights, `lpips` [n]. With a
    second field they have its share `blend` [n,h,w] in 0..1, and an encoder's soft mask as `cover` where the
    fit began at one; without a field the mask is `blend`.
    """
    import torch

    from inverters import metrics
    from inverters.fitting.targets import resized
    from inverters.memory import batch

    count = len(problem.frames)
    for start in range(first, count, size := batch(BATCH)):
        rows = np.arange(start, min(start + size, count))
        with torch.no_grad():
            seen = renderer.render(rows, problem.cam2world[rows], problem.intrinsics[rows])
            images = to_bytes(seen.image)
            # what is measured is what is written: the rounded image
            shown, target = (_unit(torch.from_numpy(x)) for x in (images, np.asarray(problem.crops[rows])))
            found = {"psnr": metrics.psnr(shown, target), "ssim": metrics.ssim(shown, target)}
            perceptual = metrics.lpips(shown, target)
            if perceptual is not None:
                found["lpips"] = perceptual
            made: Rows = {"reconstruction": images}
            made |= {name: value.numpy().astype(np.float32) for name, value in found.items()}
            if seen.blend is not None:
                made["blend"] = _halves(seen.blend[:, 0])
            if (cover := renderer.inversion.seen.get("cover")) is not None:
                told = resized(cover[rows][:, None], seen.image_raw.shape[-1])[:, 0]
                made["blend" if seen.blend is None else "cover"] = _halves(told)
            yield made
        if on_rows is not None:
            on_rows(int(rows[-1]) + 1, count)


def store_reconstruction(
    writer: StageWriter,
    renderer: Any,
    problem: InversionProblem,
    blocks: RowBlocks,
    on_rows: Callable[[int, int], None] | None = None,
) -> None:
    """Write `reconstruction` uint8 [K,S,S,3], `blend` and `cover` float16 [K,h,w], metrics [K]: all rows.

    See `reconstruct`.
    """
    count = len(problem.frames)
    arrays: dict[str, ArrayWriter] = {}
    figures: dict[str, list[npt.NDArray[Any]]] = {}
    for rows in blocks.all(lambda first: reconstruct(renderer, problem, on_rows, first)):
        for name, values in rows.items():
            if values.ndim == 1:
                figures.setdefault(name, []).append(values)
                continue
            if name not in arrays:
                arrays[name] = writer.array(name, (count, *values.shape[1:]), values.dtype)
            arrays[name].write(values)
    for name, parts in figures.items():
        writer.put(name, np.concatenate(parts))


def _halves(maps: Any) -> npt.NDArray[np.float16]:
    """Tensor [n,h,w] to float16 in memory."""
    found: npt.NDArray[np.float16] = maps.float().cpu().numpy().astype(np.float16)
    return found


def _unit(images: Any) -> Any:
    """uint8 [n,S,S,3] to float32 [n,3,S,S] in [-1,1]."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1


def compute(run: StageRun) -> None:
    """Write the tuned inversion, the clip rendered with it, and its metrics."""
    folder, inversion = run.checkpoint_dir, run.of(invert_stage.STAGE)
    problem = problem_of(run, with_masks=True).seen_by(inversion.cameras)
    settings = run.settings
    tuned = finetune(
        run.models.working_generator,
        problem,
        inversion,
        settings.finetune,
        settings.invert,
        folder,
        run.steps,
    )
    invert_stage.store(run.writer, tuned)
    renderer = run.models.renderer(tuned)
    store_reconstruction(run.writer, renderer, problem, RowBlocks(folder), run.count)


def load(run: StageRun) -> Inversion:
    """The tuned inversion."""
    return invert_stage.stored_inversion(run.result)


def notes(run: StageRun) -> tuple[str, ...]:
    """That another loss took the place of LPIPS."""
    used = run.hooks.result(STAGE.name).meta["info"].get("perceptual_loss", "")
    if not str(used).startswith("multiscale"):
        return ()
    return ("LPIPS has no weights in the local cache: a multi-scale loss without weights took its place",)


STAGE = Stage(
    "finetune",
    version=3,
    load=load,
    compute=compute,
    reads=("finetune",),
    unkeyed=("invert",),
    needs=(*NEEDS, "invert"),
    facts=lambda facts: facts.perceptual_weights,
    notes=notes,
    on_device=True,
)


def stages(settings: Settings) -> list[Stage[Inversion]]:
    """The stage of every request."""
    return [STAGE]
