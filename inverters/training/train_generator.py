"""Entry points of the training of the bundled generator: train, and export a run."""

from __future__ import annotations

from pathlib import Path

from inverters.training.export import export_generator
from inverters.training.generator_losses import density_scaled
from inverters.training.settings import TrainSettings
from inverters.training.trainer import Trainer


def train(folder: Path, settings: TrainSettings) -> None:
    """Train in `folder` for the settings' minutes, or continue the run that is there."""
    Trainer(folder, settings).run()


def export_run(folder: Path, settings: TrainSettings, out: Path) -> None:
    """Write the generator of the run in `folder` to `out` (.safetensors), with its card beside it."""
    trainer = Trainer(folder, settings)
    export_generator(density_scaled(trainer.average), out, steps=trainer.step, seconds=trainer.seconds)
