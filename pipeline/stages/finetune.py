"""Stage `finetune`: the super-resolution module is fitted; then the clip is rendered and measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.clip import F32, U8
from pipeline.settings import FinetuneSettings, InvertSettings
from pipeline.stages.edit import BATCH, to_bytes
from storage import StageWriter

if TYPE_CHECKING:
    from inverters.base import Inversion, InversionProblem, OnStep

VERSION = 2


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
    from inverters.finetune import finetune as tune

    tuned: Inversion = tune(
        generator,
        problem,
        inversion,
        preset=invert_settings.preset,
        steps=settings.steps,
        seed=invert_settings.seed,
        checkpoint_dir=checkpoint_dir,
        on_step=on_step,
    )
    return tuned


@dataclass(frozen=True)
class Measured:
    """Rows of the reconstruction: images uint8 [n,S,S,3], blend [n,h,w] in 0..1 or None, metrics [n]."""

    images: U8
    blend: F32 | None
    psnr: npt.NDArray[Any]
    ssim: npt.NDArray[Any]
    lpips: npt.NDArray[Any] | None


def reconstruct(
    renderer: Any, problem: InversionProblem, on_rows: Callable[[int, int], None] | None = None
) -> Iterator[Measured]:
    """Render every row as it was found, some rows at a time, and measure it against its crop."""
    import torch

    from inverters import metrics
    from inverters.memory import batch

    count = len(problem.frames)
    for start in range(0, count, size := batch(BATCH)):
        rows = np.arange(start, min(start + size, count))
        with torch.no_grad():
            seen = renderer.render(rows, problem.cam2world[rows], problem.intrinsics[rows])
            images = to_bytes(seen.image)
            # what is measured is what is written: the rounded image
            shown, target = (_unit(torch.from_numpy(x)) for x in (images, np.asarray(problem.crops[rows])))
            perceptual = metrics.lpips(shown, target)
            blend = None if seen.blend is None else seen.blend[:, 0].float().cpu().numpy()
            yield Measured(
                images=images,
                blend=blend,
                psnr=metrics.psnr(shown, target).numpy(),
                ssim=metrics.ssim(shown, target).numpy(),
                lpips=None if perceptual is None else perceptual.numpy(),
            )
        if on_rows is not None:
            on_rows(int(rows[-1]) + 1, count)


def store_reconstruction(
    writer: StageWriter,
    renderer: Any,
    problem: InversionProblem,
    on_rows: Callable[[int, int], None] | None = None,
) -> None:
    """Write `reconstruction` uint8 [K,S,S,3], `blend` float16 [K,h,w] and the metrics [K] of all rows."""
    count = len(problem.frames)
    images = blend = None
    figures: dict[str, list[npt.NDArray[Any]]] = {"psnr": [], "ssim": [], "lpips": []}
    for part in reconstruct(renderer, problem, on_rows):
        if images is None:
            images = writer.array("reconstruction", (count, *part.images.shape[1:]), np.uint8)
            if part.blend is not None:
                blend = writer.array("blend", (count, *part.blend.shape[1:]), np.float16)
        images.write(part.images)
        if blend is not None and part.blend is not None:
            blend.write(part.blend)
        for name, values in figures.items():
            value = getattr(part, name)
            if value is not None:
                values.append(value)
    for name, values in figures.items():
        if values:
            writer.put(name, np.concatenate(values).astype(np.float32))


def _unit(images: Any) -> Any:
    """uint8 [n,S,S,3] to float32 [n,3,S,S] in [-1,1]."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1
