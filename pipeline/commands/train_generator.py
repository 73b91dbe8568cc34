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
    export: Annotated[Path | None, Option(metavar="FILE")] = None,
    settings: TrainSettings = _DEFAULT,
) -> int:
    """Train the bundled generator, or go on with an earlier run in the same folder.

    Args:
        folder: Folder of the run.
        export: Write the run's generator to this .safetensors and its card, and do not train.
        settings: How the training goes.
    """
    from inverters.training.trainer import Trainer

    trainer = Trainer(folder, settings)
    if export is None:
        trainer.run()
        return 0
    from inverters.training.export import export_generator
    from inverters.training.generator_losses import density_scaled

    export_generator(density_scaled(trainer.average), export, steps=trainer.step, seconds=trainer.seconds)
    return 0
