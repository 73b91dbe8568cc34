"""Directions of edits: find them, list them, see what they do.

Without FILE, list and show take the generator's own directions. FILE may be another project's
(docs/editing.md). An edit can name what is in it.

example: process-video CLIP --directions FILE --edit NAME=1.5
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Mapping
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pipeline.commands.guard import say
from pipeline.directions.fit import FitOptions
from pipeline.directions.selection import layers_in, names_in
from pipeline.errors import OutputError, UserError
from pipeline.request.fields import MOST_SEED, Option

if TYPE_CHECKING:
    from inverters.editing.directions import Direction, Directions

_MOST_SHOWN = 8

File = Annotated[Path | None, Option(metavar="FILE")]
Generator = Annotated[str, Option(metavar="bundled|PATH")]
GivenGenerator = Annotated[str | None, Option(metavar="bundled|PATH", default="bundled")]
Device = Annotated[str, Option(metavar="auto|cpu|cuda[:N]")]
Names = Annotated[str | None, Option(metavar="A,B", default="all")]


def fit(
    *,
    generator: Generator = "bundled",
    device: Device = "auto",
    out: Annotated[Path | None, Option(metavar="FILE", default="METHOD.safetensors")] = None,
    options: FitOptions,
) -> int:
    """Find directions from random faces.

    example: invid directions fit --method interfacegan --names smile,age --out mine.safetensors
    example: invid directions fit --method local-basis --space z+

    Args:
        generator: The generator whose directions they are.
        device: Device that computes.
        out: The file to write.
        options: How they are found.
    """
    from pipeline.directions.fit import fit as fitted

    out = _checked_out(out or Path(f"{options.method}.safetensors"))
    found = fitted(_loaded(generator, device), options, lambda text: say(text, sys.stderr))
    return _saved(out, found)


def convert(
    file: Annotated[Path, Option(metavar="FILE")],
    /,
    *,
    generator: Generator,
    out: Annotated[Path, Option(metavar="FILE")],
    names: Names = None,
    layers: Annotated[str | None, Option(metavar="A-B", default="all")] = None,
    device: Device = "auto",
) -> int:
    """Write directions of any file as a file of ours that names its generator, which is checked from then on.

    Args:
        file: Directions, perhaps of another project.
        generator: The generator that they are for.
        out: The .safetensors to write.
        names: These directions.
        layers: Restrict them to these layers of w+.
        device: Device that computes.
    """
    from inverters.editing.direction_files import load_directions
    from inverters.editing.directions import Directions

    _checked_out(out)
    loaded = _loaded(generator, device)
    chosen = _chosen(names, load_directions(file, loaded).named)
    within = layers_in(layers, loaded.num_ws)
    if within is not None:
        chosen = {name: one.in_layers(within, loaded.num_ws) for name, one in chosen.items()}
    return _saved(out, Directions(chosen, loaded.card.fingerprint, loaded.card.name))


def list_(
    file: File = None,
    /,
    *,
    generator: GivenGenerator = None,
    names: Names = None,
    device: Device = "auto",
    json: bool = False,
) -> int:
    """List names, spaces, units, lengths and how they were found.

    Args:
        file: Directions; the generator's own unless given.
        generator: The generator; given with FILE, the two are checked against each other.
        names: These directions.
        device: Device that computes.
        json: Print JSON.
    """
    found = _found(file, None if generator is None else _loaded(generator, device), device)
    found = type(found)(_chosen(names, found.named), found.fingerprint, found.generator)
    if json:
        about = {
            name: {"space": one.space, "norm": one.norm, "unit": one.unit, "method": one.method}
            for name, one in found.named.items()
        }
        card = {"generator": found.generator or None, "fingerprint": found.fingerprint}
        print(dumps(card | {"directions": about}, indent=1))
        return 0
    _print_table(found)
    return 0


def show(
    file: File = None,
    /,
    *,
    generator: Generator = "bundled",
    names: Names = None,
    out: Annotated[Path, Option(metavar="FILE")] = Path("strip.png"),
    faces: Annotated[int, Option(metavar="N", least=1, most=100)] = 2,
    range: Annotated[float, Option(metavar="S", least=0.01, most=100)] = 3.0,
    columns: Annotated[int, Option(metavar="N", least=2, most=101)] = 7,
    size: Annotated[int, Option(metavar="PIXELS", least=16, most=1024)] = 128,
    seed: Annotated[int, Option(least=0, most=MOST_SEED)] = 0,
    device: Device = "auto",
) -> int:
    """Draw a strip of faces for each direction, as one picture.

    Args:
        file: Directions; the generator's own unless given.
        generator: The generator that draws.
        names: These directions.
        out: The .png to write.
        faces: Faces for each direction.
        range: Strengths go from -S to S.
        columns: Strengths shown.
        size: Side of a face.
        seed: Seed of the random faces.
        device: Device that computes.
    """
    import torch

    from inverters.fitting.latents import random_z
    from pipeline.directions.strips import draw_strips
    from pipeline.video.images import save_png

    if out.suffix != ".png":
        raise UserError(f"--out {out}: the strip is a picture whose name ends in .png")
    _check_folder(out)
    loaded = _loaded(generator, device)
    chosen = _chosen(names, _found(file, loaded, device).named)
    if len(chosen) > _MOST_SHOWN and names is None:
        print(f"the first {_MOST_SHOWN} of {len(chosen)}; --names A,B shows others", file=sys.stderr)
        chosen = dict(list(chosen.items())[:_MOST_SHOWN])
    z = random_z(loaded, faces, torch.Generator().manual_seed(seed))
    strengths = [round(-range + 2 * range * k / (columns - 1), 3) for k in builtins.range(columns)]
    save_png(draw_strips(loaded, chosen, z, strengths, size), out)
    say(str(out))
    return 0


ACTIONS = {"fit": fit, "convert": convert, "list": list_, "show": show}


def _found(file: Path | None, generator: Any | None, device: str) -> Directions:
    """Those of FILE (checked against the generator where one is named), else the generator's own."""
    from inverters.editing.direction_files import load_directions, read_directions
    from inverters.editing.directions import own_directions

    if file is None:
        return own_directions(generator or _loaded("bundled", device))
    return read_directions(file) if generator is None else load_directions(file, generator)


def _chosen(names: str | None, named: Mapping[str, Direction]) -> dict[str, Direction]:
    return dict(named) if names is None else {name: named[name] for name in names_in(names, named)}


def _loaded(generator: str, device: str) -> Any:
    from inverters.generators.load import load_generator
    from pipeline.request.checks import device_of

    return load_generator(generator, device_of(device))


def _checked_out(out: Path) -> Path:
    """Before any work."""
    if out.suffix != ".safetensors":
        raise UserError(f"--out {out}: directions are written to a file that ends in .safetensors")
    _check_folder(out)
    return out


def _saved(out: Path, found: Directions) -> int:
    from inverters.editing.direction_files import save_directions

    save_directions(out, found)
    _print_table(found)
    say(str(out))
    return 0


def _check_folder(out: Path) -> None:
    """Before any work."""
    if not out.absolute().parent.is_dir():
        raise OutputError(f"--out {out}: there is no folder '{out.parent}'")


def _print_table(found: Directions) -> None:
    width = max([len(name) for name in found.named] + [4]) + 2
    print(f"{'name':<{width}}{'space':<7}{'norm':>8}  unit; how it was found")
    for name, one in found.named.items():
        norm = "-" if one.norm is None else f"{one.norm:.3f}"
        say(f"{name:<{width}}{one.space:<7}{norm:>8}  {one.unit}; {one.method}")
    owner = "an unknown generator: the file does not say"
    if found.fingerprint is not None:
        owner = f"generator {found.generator or '?'} ({found.fingerprint[:12]})"
    count = len(found.named)
    say(f"{count} direction{'' if count == 1 else 's'} of {owner}")
