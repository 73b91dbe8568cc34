"""The command `invid train-generator`."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from inverters.training.export import export_generator
from inverters.training.generator_losses import density_scaled
from inverters.training.trainer import Trainer, TrainSettings


def main(argv: list[str] | None = None) -> int:
    """`invid train-generator`: train, resume, stop after --minutes; --export writes the bundled files."""
    defaults = TrainSettings()
    parser = argparse.ArgumentParser(prog="invid train-generator", description=main.__doc__)
    parser.add_argument("--folder", type=Path, default=Path("runs/bundled"), help="where the run lives")
    for name, value in asdict(defaults).items():
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, type=type(value), default=value, help=f"default {value}")
    parser.add_argument(
        "--export", type=Path, default=None, help="write NAME.safetensors and its card, then stop"
    )
    args = parser.parse_args(argv)
    settings = TrainSettings(**{name: getattr(args, name) for name in asdict(defaults)})
    trainer = Trainer(args.folder, settings)
    if args.export is not None:
        export_generator(
            density_scaled(trainer.average), args.export, steps=trainer.step, seconds=trainer.seconds
        )
        return 0
    trainer.run()
    return 0
