"""Directions of edits: find them, list them, see what they do.

    invid directions fit --method interfacegan --names smile,age --out mine.safetensors
    invid directions fit --method ganspace|sefa --components 10 [--layers 0-4]
    invid directions convert FILE [--names A,B] [--layers 0-4] --generator G --out mine.safetensors
    invid directions list [FILE] [--generator G]      names, spaces, units, lengths, how they were found
    invid directions show [FILE] [--generator G]      a strip of faces for each, as a picture

Without FILE, list and show take the generator's own. FILE may be another project's (docs/editing.md).
An edit can name what is in it: process-video CLIP --directions FILE --edit NAME=1.5
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.directions.selection import layers_in, names_in
from pipeline.errors import OutputError, UserError

if TYPE_CHECKING:
    from inverters.editing.directions import Direction, Directions

METHODS = ("interfacegan", "ganspace", "sefa")
_MOST_SHOWN = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `invid directions`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = __doc__
    parser.add_argument("action", choices=("fit", "convert", "list", "show"))
    parser.add_argument("file", type=Path, nargs="?", metavar="FILE")
    add = parser.add_argument
    add("--generator", default=None, metavar="bundled|PATH", help="an EG3D .pkl, or a .safetensors (bundled)")
    add("--device", default="auto", help="auto, cpu or cuda (auto)")
    add("--names", metavar="A,B", help="these alone")
    add("--out", type=Path, metavar="FILE", help="METHOD.safetensors of fit, strip.png of show")
    add("--layers", metavar="A-B", help="fit and convert: in these layers of w+ alone")
    add("--seed", type=int, default=0, help="of the random faces (0)")
    add("--json", action="store_true", help="list: as JSON")
    how = parser.add_argument_group("fit")
    add = how.add_argument
    add("--method", choices=METHODS, help="how they are found")
    add("--samples", type=int, metavar="N", help="random faces (8000; 1000 with --labels judge)")
    add(
        "--labels",
        default="parameters",
        metavar="parameters|judge|FILE",
        help="interfacegan: the true parameters, what the judge sees, or your scores (parameters)",
    )
    add("--condition-on", metavar="A,B|all", help="interfacegan: leave these unchanged, to first order")
    add("--components", type=int, default=10, metavar="N", help="ganspace and sefa: how many (10)")
    look = parser.add_argument_group("show")
    add = look.add_argument
    add("--faces", type=int, default=2, metavar="N", help="for each direction (2)")
    add("--range", type=float, default=3.0, metavar="S", help="strengths from -S to S (3)")
    add("--columns", type=int, default=7, metavar="N", help="strengths shown (7)")
    add("--size", type=int, default=128, metavar="PIXELS", help="of a face (128)")


def run(args: argparse.Namespace) -> int:
    """Do it; 0. Raises UserError, and InverterError for files that cannot be used."""
    actions = {"fit": _fit, "convert": _convert, "list": _list, "show": _show}
    return actions[args.action](args)


def _fit(args: argparse.Namespace) -> int:
    from pipeline.directions.fit import FitOptions, fit

    if args.file is not None:
        raise UserError(f"invid directions fit takes no FILE, but --out FILE; '{args.file}' was given")
    if args.method is None:
        raise UserError(f"invid directions fit needs --method; known: {', '.join(METHODS)}")
    out = _checked_out(args.out or Path(f"{args.method}.safetensors"))
    options = FitOptions(
        method=args.method,
        names=args.names,
        layers=args.layers,
        samples=args.samples,
        labels=args.labels,
        condition_on=args.condition_on,
        components=args.components,
        seed=args.seed,
    )
    return _saved(out, fit(_generator(args), options, lambda text: print(text, file=sys.stderr)))


def _convert(args: argparse.Namespace) -> int:
    """Those of a file, in our own form, as the generator's that was named: from then on that is checked."""
    from inverters.editing.direction_files import load_directions
    from inverters.editing.directions import Directions

    if args.file is None or args.out is None or args.generator is None:
        raise UserError("invid directions convert needs FILE, --generator and --out")
    out, generator = _checked_out(args.out), _generator(args)
    chosen = _chosen(args, load_directions(args.file, generator).named)
    layers = layers_in(args.layers, generator.num_ws)
    if layers is not None:
        chosen = {name: one.in_layers(layers, generator.num_ws) for name, one in chosen.items()}
    return _saved(out, Directions(chosen, generator.card.fingerprint, generator.card.name))


def _list(args: argparse.Namespace) -> int:
    found = _found(args, None if args.generator is None else _generator(args))
    found = type(found)(_chosen(args, found.named), found.fingerprint, found.generator)
    if args.json:
        about = {
            name: {"space": one.space, "norm": one.norm, "unit": one.unit, "method": one.method}
            for name, one in found.named.items()
        }
        card = {"generator": found.generator or None, "fingerprint": found.fingerprint}
        print(json.dumps(card | {"directions": about}, indent=1))
        return 0
    _print_table(found)
    return 0


def _show(args: argparse.Namespace) -> int:
    import torch

    from inverters.editing.sampling import sample_codes
    from pipeline.directions.strips import draw_strips, save_png

    limits = [("--faces", args.faces, 1), ("--columns", args.columns, 2), ("--size", args.size, 16)]
    for name, value, least in limits:
        if value < least:
            raise UserError(f"{name} must be {least} or more, not {value}")
    if not 0 < args.range <= 100:
        raise UserError(f"--range goes up to 100, not to {args.range:g}")
    out = args.out or Path("strip.png")
    if out.suffix != ".png":
        raise UserError(f"--out {out}: the strip is a picture whose name ends in .png")
    _check_folder(out)
    generator = _generator(args)
    chosen = _chosen(args, _found(args, generator).named)
    if len(chosen) > _MOST_SHOWN and args.names is None:
        print(f"the first {_MOST_SHOWN} of {len(chosen)}; --names A,B shows others", file=sys.stderr)
        chosen = dict(list(chosen.items())[:_MOST_SHOWN])
    codes, _ = sample_codes(generator, args.faces, torch.Generator().manual_seed(args.seed))
    half = args.range
    strengths = [round(-half + 2 * half * k / (args.columns - 1), 3) for k in range(args.columns)]
    save_png(draw_strips(generator, chosen, codes, strengths, args.size), out)
    print(out)
    return 0


def _found(args: argparse.Namespace, generator: Any | None) -> Directions:
    """Those of FILE (checked against the generator where one is named), else the generator's own."""
    from inverters.editing.direction_files import load_directions, read_directions
    from inverters.editing.directions import own_directions

    if args.file is None:
        return own_directions(generator or _generator(args))
    return read_directions(args.file) if generator is None else load_directions(args.file, generator)


def _chosen(args: argparse.Namespace, named: Mapping[str, Direction]) -> dict[str, Direction]:
    return dict(named) if args.names is None else {n: named[n] for n in names_in(args.names, named)}


def _generator(args: argparse.Namespace) -> Any:
    from inverters.generators.load import load_generator
    from pipeline.request.checks import device_of

    return load_generator(args.generator or "bundled", device_of(args.device))


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
    print(out)
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
        print(f"{name:<{width}}{one.space:<7}{norm:>8}  {one.unit}; {one.method}")
    owner = "an unknown generator: the file does not say"
    if found.fingerprint is not None:
        owner = f"generator {found.generator or '?'} ({found.fingerprint[:12]})"
    count = len(found.named)
    print(f"{count} direction{'' if count == 1 else 's'} of {owner}")
