"""`invid train-encoder`: train a network that tells a generator's codes from a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from inverters.methods.table import BASE_CODE, ENCODERS, encoder_file
from inverters.training.encoder_settings import EncoderSettings
from pipeline.request.fields import Option

TRAINED = (*ENCODERS, BASE_CODE)
_DEFAULT = EncoderSettings()


def run(
    name: Annotated[str, Option(choices=TRAINED, kind="encoder")],
    /,
    *,
    generator: Annotated[str, Option(metavar="bundled|PATH")] = "bundled",
    folder: Annotated[Path | None, Option(metavar="DIR", default="runs/NAME")] = None,
    set: Annotated[Path, Option(metavar="DIR")] = Path("runs/people"),
    start: Annotated[Path | None, Option(metavar="FILE")] = None,
    export: Annotated[Path | None, Option(metavar="FILE", default="NAME.safetensors in the folder")] = None,
    settings: EncoderSettings = _DEFAULT,
) -> int:
    """Train an encoder for a generator, or go on with an earlier run in the same folder; then write it.

    It learns from the generator's own samples, from people behind occluders and, where the generator's z
    names the parameters of people, from the stored people of train-generator. With --minutes 0 nothing is
    trained, and the run is written as it is. base-code learns the base codes of spaces with f/ from the
    samples alone; --preset paper is as published, with new samples every step.

    example: invid train-encoder e4e-mask --minutes 60
    example: invid train-encoder e4e-mask --generator new.safetensors --start old.safetensors --folder new

    Args:
        name: e3dge, e4e, e4e-mask, goae, goae-w+, psp, triplanenet or base-code.
        generator: Generator whose codes it tells; the encoder is for this one alone.
        folder: Folder of the run: its state, what it drew, figures.jsonl and pictures.
        set: Folder of the stored people; without it the samples and the covered people are all.
        start: Encoder that a fresh run begins at, of this kind and of any generator with codes of this shape.
            For e3dge, goae and triplanenet also the e4e-mask that becomes the first stage; without it the
            shipped one.
        export: The .safetensors to write; its card goes beside it.
        settings: How the training goes.
    """
    from inverters.generators.load import load_generator
    from pipeline.errors import UserError

    folder = folder or Path("runs") / name
    export = export or folder / f"{name}.safetensors"
    if export.suffix != ".safetensors":
        raise UserError(f"--export {export}: an encoder is written to a name ending in .safetensors")
    if start is not None and not start.is_file():
        raise UserError(f"--start {start}: there is no such encoder; name its .safetensors")
    if name == BASE_CODE:
        return _base_code(load_generator(generator), folder, start, export, settings)
    trainer = _trainer(name)(name, load_generator(generator), folder, settings, set, start or _first(name))
    if settings.minutes > 0 and not trainer.run():
        return 0
    card = trainer.export(export)
    print(f"{export}: {card.network} for generator {card.generator} ({card.fingerprint[:12]})", flush=True)
    return 0


def _trainer(name: str) -> Any:
    """The class of an encoder's trainer."""
    if name == "e3dge":
        from inverters.training.train_local import LocalTrainer

        return LocalTrainer
    if name == "triplanenet":
        from inverters.training.train_offsets import OffsetTrainer

        return OffsetTrainer
    if name == "goae":
        from inverters.training.train_alignment import AlignmentTrainer

        return AlignmentTrainer
    from inverters.training.train_encoder import EncoderTrainer

    return EncoderTrainer


def _first(name: str) -> Path | None:
    """The encoder that a fresh run begins at where none is named: a first stage, if it is shipped."""
    path = encoder_file("e4e-mask")
    return path if name in ("e3dge", "goae", "triplanenet") and path.is_file() else None


def _base_code(
    generator: Any, folder: Path, start: Path | None, export: Path, settings: EncoderSettings
) -> int:
    """Train the encoder of base codes, and write it."""
    from inverters.training.base_code import settings_for, train_base_code

    card = train_base_code(generator, folder, export, settings_for(settings), settings.nice, start)
    if card is not None:
        of = f"block {card.block} of generator {card.generator} ({card.fingerprint[:12]})"
        print(f"{export}: {BASE_CODE} for {of}, {card.steps} steps", flush=True)
    return 0
