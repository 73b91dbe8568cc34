"""`invid train-generator`: train the bundled generator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from inverters.training.settings import TrainSettings
from pipeline.request.fields import Option

_DEFAULT = TrainSettings()


def run(
    *,
    folder: Annotated[Path, Option(metavar="DIR")] = Path("runs/bundled"),
    set: Annotated[Path, Option(metavar="DIR")] = Path("runs/people"),
    export: Annotated[Path | None, Option(metavar="FILE")] = None,
    settings: TrainSettings = _DEFAULT,
) -> int:
    """Train the bundled generator, or go on with an earlier run in the same folder.

    With --minutes 0 nothing is trained: the --people are made, or with --export the run is written.

    example: invid train-generator --people 2000 --workers 2 --minutes 120
    example: invid train-generator --cooldown 30

    Args:
        folder: Folder of the run.
        set: Folder of the stored people.
        export: Write the run's generator to this .safetensors and its card; after --cooldown this is by
            default cooled.safetensors in the run's folder.
        settings: How the training goes.
    """
    if settings.minutes <= 0 and not settings.cooldown and export is None:
        from inverters.training.machine import pick_device
        from inverters.training.people_pictures import fill

        fill(set, settings.people, settings.workers, settings.seed, pick_device(settings.device).type)
        return 0
    from inverters.training.trainer import Trainer

    trainer = Trainer(folder, set, settings)
    if settings.minutes > 0 or settings.cooldown:
        finished = trainer.run()
        if settings.cooldown and not finished:
            return 0
    if export is None and settings.cooldown:
        export = folder / "cooled.safetensors"
    if export is not None:
        trainer.export(export)
    return 0
