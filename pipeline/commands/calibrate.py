"""`invid calibrate`: find a generator's own landmarks and crop rule, and write them into its card."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from pipeline.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `invid calibrate`."""
    parser.add_argument("generator", help="bundled, PATH.pkl or PATH.safetensors")
    parser.add_argument(
        "--out", type=Path, help="PATH.safetensors to write; default: the generator's own file"
    )
    parser.add_argument("--faces", type=int, default=40, help="random faces to draw (default 40)")
    parser.add_argument("--views", type=int, default=7, help="views of each face (default 7)")
    parser.add_argument("--seed", type=int, default=0)


def run(args: argparse.Namespace) -> int:
    """Draw faces from known cameras, detect and triangulate their landmarks, write the card anew.

    An official snapshot is written as our own form beside it, its crop rule kept (it was trained with it).
    """
    import torch

    from inverters.generators.checkpoint import save_generator
    from inverters.generators.load import BUNDLED, load_generator
    from pipeline.faces.calibrate import crop_rule_for, landmarks3d

    source = BUNDLED if args.generator == "bundled" else Path(args.generator)
    out = args.out or source.with_suffix(".safetensors")
    if out.suffix != ".safetensors":
        raise UserError(f"--out {out}: a generator is written to a name ending in .safetensors")
    generator = load_generator(source)

    def show(done: int, total: int) -> None:
        print(f"\rfaces {done}/{total}", end="", file=sys.stderr, flush=True)

    found = landmarks3d(generator, args.views, args.faces, args.seed, on_face=show)
    print(file=sys.stderr)
    card = generator.card
    official = source.suffix == ".pkl"
    card = replace(
        card,
        landmarks3d=found.as_card(),
        crop_rule=card.crop_rule if official else crop_rule_for(found.ibug, card.crop_rule),
        reports=dict(card.reports) | {"calibration": found.report()},
    )
    save_generator(out, generator, card, torch.float32 if official else torch.float16)
    print(
        f"{out}: {found.faces} of {found.asked} faces used, "
        f"landmarks agree to {found.residual:.4f} crop widths"
    )
    return 0
