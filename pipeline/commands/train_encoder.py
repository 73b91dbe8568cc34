"""`invid train-encoder`: train a network that tells a generator's codes from a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from inverters.methods.table import ENCODERS
from inverters.training.encoder_settings import EncoderSettings
from pipeline.request.fields import Option

_DEFAULT = EncoderSettings()


def run(
    name: Annotated[str, Option(choices=ENCODERS, kind="encoder")],
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
    trained, and the run is written as it is.

    example: invid train-encoder e4e-mask --minutes 60
    example: invid train-encoder e4e-mask --generator new.safetensors --start old.safetensors --folder new

    Args:
        name: e4e, e4e-mask, goae-w+ or psp.
        generator: Generator whose codes it tells; the encoder is for this one alone.
        folder: Folder of the run: its state, what it drew, figures.jsonl and pictures.
        set: Folder of the stored people; without it the samples and the covered people are all.
        start: Encoder that a fresh run begins at, of this kind and of any generator with codes of this shape.
        export: The .safetensors to write; its card goes beside it.
        settings: How the training goes.
    """
    from inverters.generators.load import load_generator
    from inverters.training.train_encoder import EncoderTrainer
    from pipeline.errors import UserError

    folder = folder or Path("runs") / name
    export = export or folder / f"{name}.safetensors"
    if export.suffix != ".safetensors":
        raise UserError(f"--export {export}: an encoder is written to a name ending in .safetensors")
    if start is not None and not start.is_file():
        raise UserError(f"--start {start}: there is no such encoder; name its .safetensors")
    trainer = EncoderTrainer(name, load_generator(generator), folder, settings, set, start)
    if settings.minutes > 0 and not trainer.run():
        return 0
    card = trainer.export(export)
    print(f"{export}: {card.network} for generator {card.generator} ({card.fingerprint[:12]})", flush=True)
    return 0
