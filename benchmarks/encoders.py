"""Encoders on people that nothing was trained on: fidelity, novel views, faces behind occluders, speed.

    python -m benchmarks.encoders --people 500 --seed 0 --json
    python -m benchmarks.encoders --people 24 --fits 6 --encoder e4e-mask=mine.safetensors --sheet sheet.png

A row an encoder. All pictures are compared at 128 x 128 with true ones. `psnr_w`: the codes told from a
picture, from its own camera (yaw 0); `psnr_w_side`: the same codes at yaw +-0.5; `psnr_refined` and
`psnr_refined_side`: with the second stage, each picture by itself, sampled as `draft` does; none for
encoders without one. `psnr_unaligned`: E3DGE without its alignment, on the first 100 people: it shows the
collapse from the sides. `psnr_mean_face`: the mean code; `psnr_true_code`: the code that the generator was
trained to show for the person. `psnr_fit_200`: 200 steps of `w+` from the mean face, on the first `--fits`
people; `psnr_start_200`: the same steps from the encoder's code; `psnr_w_of_fitted` and
`psnr_refined_of_fitted`: the encoder on these people. With `_side` at yaw +-0.5, as above. `psnr_behind`:
the true face behind each occluder, in the pixels that it covers; `psnr_behind_mean`: the mean face's.
`mask_iou`: the soft mask at half against the true one. `smile_behind_mask`: told and true smile of people
who wear a mask (`benchmarks.encoders_behind`). `frames_per_second`: the network and its framing, in batches
of 16; `frames_per_second_refined`: both stages, and the raw picture of each frame that they show, with the
faster precision of the machine. With `--clips FILE...`, `real`: the codes of each clip's first eight frames
by the encoder alone, by 200 steps of `w+` from the mean face, and by `w+` as `draft` has it
(`benchmarks.generator_clips`).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from benchmarks import generator_clips
from benchmarks.drawn_people import camera, rendered, true_picture, unseen
from benchmarks.encoders_behind import SIZE, behind, covered, told
from benchmarks.generator_clips import FIRST_FRAMES
from benchmarks.report import report
from inverters.base import Inversion, InversionProblem
from inverters.encoders.e3dge_triplane import Painter
from inverters.encoders.encoder_file import Encoder
from inverters.fields.synthesis import InversionRenderer
from inverters.fitting.targets import resized
from inverters.generators.eg3d import Generator
from inverters.generators.load import load_generator
from inverters.generators.precision import DTYPES
from inverters.methods.encoders import encoder_for
from inverters.methods.table import ENCODERS, encoder_file, find_method
from inverters.metrics import psnr
from inverters.people.occluders import OCCLUDERS
from inverters.people.params import to_z
from inverters.rendering.cameras import default_intrinsics
from inverters.training.contact import save_sheet
from pipeline.faces.identity import load_embedder
from pipeline.machine import machine
from pipeline.stages.precision import precision_of

SIDES = (-0.5, 0.5)
STEPS = 200
_COLUMNS = 12
_TESTED = 100
"""People on whom E3DGE is tried without its alignment."""
_AT_ONCE = 20
"""Pictures that a method inverts together."""


@dataclass(frozen=True)
class People:
    """Pictures [N,3,S,S] of people with scores [N,P]: from the front, and by yaw from the sides."""

    scores: Tensor
    front: Tensor
    sides: dict[float, Tensor]

    @classmethod
    def of(cls, scores: Tensor) -> People:
        """Draw them."""
        yaws = (0.0, *SIDES)
        drawn = [[true_picture(score, yaw, SIZE).image for yaw in yaws] for score in scores]
        front, *sides = (torch.stack(views) for views in zip(*drawn, strict=True))
        return cls(scores, front, dict(zip(SIDES, sides, strict=True)))

    def first(self, count: int) -> People:
        """The first of them."""
        sides = {yaw: images[:count] for yaw, images in self.sides.items()}
        return People(self.scores[:count], self.front[:count], sides)


def problem(images: Tensor) -> InversionProblem:
    """Pictures [N,3,S,S] from the front as the frames of a clip."""
    pixels = ((images.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).contiguous()
    n = len(images)
    poses = camera(0.0).expand(n, 4, 4).contiguous()
    return InversionProblem(pixels.numpy(), np.arange(n), poses, default_intrinsics(n))


def fitted(generator: Generator, image: Tensor, start: Inversion | None = None) -> Tensor:
    """Codes [1,L,D] after STEPS steps of w+."""
    method = find_method("w+")
    settings = method.presets["draft"]
    return method(generator, problem(image[None]), settings=settings, start=start, steps=STEPS).ws


def started(generator: Generator, name: str, ws: Tensor) -> Inversion:
    """The inversion of one frame with these codes [1,L,D]."""
    return Inversion(name, "draft", generator.card.fingerprint, np.zeros(1, np.int64), ws)


@dataclass(frozen=True)
class Second:
    """What an encoder with a second stage shows: pictures [N,3,S,S] by yaw, and frames a second."""

    shown: dict[float, Tensor]
    speed: float


def refined(name: str, file: str, generator: Generator, images: Tensor) -> Second | None:
    """The method `name` with its second stage, each picture by itself; None if the encoder has none."""
    method, took = find_method(name), 0.0
    settings = replace(method.presets["draft"], file=file, fuse=False, smoothing=0.0)
    found: dict[float, list[Tensor]] = {yaw: [] for yaw in (0.0, *SIDES)}
    for some in images.split(_AT_ONCE):
        began = time.process_time()
        inversion = method(generator, problem(some), settings=settings)
        if inversion.parts == ("codes",):
            return None
        renderer, n = InversionRenderer(generator, inversion), len(some)
        for yaw, views in found.items():
            poses = camera(yaw).expand(n, 4, 4), default_intrinsics(n)
            views.append(renderer.render(np.arange(n), *poses, high_resolution=False).image)
            took += time.process_time() - began if yaw == 0.0 else 0.0
    shown = {yaw: resized(torch.cat(views), SIZE) for yaw, views in found.items()}
    return Second(shown, round(len(images) * torch.get_num_threads() / took, 2))


def of_second(name: str, second: Second | None, true: People) -> dict[str, float | None]:
    """Figures of a second stage: `name` from the front, and with `_side` from the sides."""
    if second is None:
        return {name: None, f"{name}_side": None}
    sides = [psnr(second.shown[yaw], seen) for yaw, seen in true.sides.items()]
    return {name: _mean(psnr(second.shown[0.0], true.front)), f"{name}_side": _mean(torch.cat(sides))}


@contextmanager
def unaligned() -> Iterator[None]:
    """E3DGE without its hybrid alignment, the collapse test of its table 3: see `Painter.colours`."""
    whole = Painter.colours

    def colours(painter: Painter, *arguments: Any, **options: Any) -> Tensor:
        return whole(painter, *arguments, **(options | {"alignment": False}))

    with patch.object(Painter, "colours", colours):
        yield


def plain(
    encoder: Encoder,
    generator: Generator,
    true: People,
    fits: Fits | None,
    sheet: Path | None,
    file: str = "",
) -> dict[str, Any]:
    """Figures of people without an occluder."""
    images = true.front
    ws, _ = told(encoder, generator, images)
    average = generator.backbone.mapping.w_avg.expand(1, generator.num_ws, -1)
    shown = torch.stack([rendered(generator, code[None], 0.0, SIZE) for code in ws])
    flat = rendered(generator, average, 0.0, SIZE)[None].expand_as(images)
    best = generator.mapping(to_z(true.scores, generator.config.z_dim))
    own = torch.stack([rendered(generator, code[None], 0.0, SIZE) for code in best])
    second, sides = refined(encoder.card.network, file, generator, images), []
    for yaw, seen in true.sides.items():
        turned = torch.stack([rendered(generator, code[None], yaw, SIZE) for code in ws])
        sides.append(psnr(turned, seen))
    found = {
        "psnr_w": _mean(psnr(shown, images)),
        "psnr_w_side": _mean(torch.cat(sides)),
        **of_second("psnr_refined", second, true),
        "frames_per_second_refined": second.speed if second else None,
        "psnr_mean_face": _mean(psnr(flat, images)),
        "psnr_true_code": _mean(psnr(own, images)),
    }
    rows = [images, shown, *((second.shown[0.0],) if second else ()), own]
    if second:
        turned = torch.stack([rendered(generator, code[None], SIDES[1], SIZE) for code in ws[:_COLUMNS]])
        rows += [true.sides[SIDES[1]], turned, second.shown[SIDES[1]]]
    if encoder.card.network == "e3dge":
        some = true.first(_TESTED)
        with unaligned():
            found |= of_second("psnr_unaligned", refined("e3dge", file, generator, some.front), some)
    if fits is not None:
        found |= fit_figures(generator, encoder.card.network, fits, ws, second)
    if sheet is not None:
        sheet = sheet.with_stem(f"{sheet.stem}_{encoder.card.network}")
        save_sheet([row[:_COLUMNS] for row in rows], sheet)
    return found


@dataclass(frozen=True)
class Fits:
    """Fits of the first people from the mean face: codes [1,L,D] of each, and seconds of a core a picture."""

    true: People
    codes: list[Tensor]
    seconds: float

    @classmethod
    def of(cls, generator: Generator, true: People) -> Fits:
        """Fit them."""
        began = time.process_time()
        codes = [fitted(generator, image) for image in true.front]
        return cls(true, codes, (time.process_time() - began) / len(codes))


def fit_figures(
    generator: Generator, name: str, fits: Fits, ws: Tensor, second: Second | None
) -> dict[str, float | None]:
    """Figures of fits on some people, from the mean face and from the encoder's codes, beside the encoder's.

    ws: [N,L,D], codes told of these people and perhaps of others after them.
    """
    true, count = fits.true, len(fits.codes)
    told_codes = list(ws[:count].split(1))
    begun = [
        fitted(generator, image, started(generator, name, code))
        for image, code in zip(true.front, told_codes, strict=True)
    ]
    found: dict[str, float | None] = {"seconds_fit_200": round(fits.seconds, 2)}
    for yaw, seen, end in ((0.0, true.front, ""), *((yaw, true.sides[yaw], "_side") for yaw in SIDES)):
        shown = {"w_of_fitted": told_codes, "fit_200": fits.codes, "start_200": begun}
        for key, codes in shown.items():
            pictures = torch.stack([rendered(generator, code, yaw, SIZE) for code in codes])
            _add(found, f"psnr_{key}{end}", pictures, seen)
        if second is not None:
            _add(found, f"psnr_refined_of_fitted{end}", second.shown[yaw][:count], seen)
    return found


def _add(found: dict[str, float | None], key: str, shown: Tensor, seen: Tensor) -> None:
    """Put the mean PSNR of pictures into `found`, or the mean with what is there of the other side."""
    value, other = _mean(psnr(shown, seen)), found.get(key)
    found[key] = value if other is None else round((value + other) / 2, 2)


def speed(encoder: Encoder, repeats: int = 4) -> float:
    """Frames a second of processor time, in batches of 16."""
    images = torch.zeros(16, 3, 2 * SIZE, 2 * SIZE)
    encoder.see(images)
    began = time.process_time()
    for _ in range(repeats):
        encoder.see(images)
    return round(16 * repeats * torch.get_num_threads() / (time.process_time() - began), 1)


def real(args: argparse.Namespace, name: str) -> dict[str, list[dict[str, Any]]]:
    """Codes of the clips by the encoder `name`, by 200 steps from the mean face, and by `draft`."""
    embedder = None if args.face_network is None else load_embedder(args.face_network)
    ways = {
        "encoder": ("--inverter", name),
        "fit_200": ("--inverter", "w+", "--start", "none", "--steps", str(STEPS)),
        "draft": ("--inverter", "w+", "--start", name),
    }
    return {
        way: generator_clips.clips(args.generator, args.clips, embedder, print_aside, (*words, *FIRST_FRAMES))
        for way, words in ways.items()
    }


def print_aside(line: Any) -> None:
    """Print to standard error at once."""
    print(line, file=sys.stderr, flush=True)


def _mean(values: Tensor) -> float:
    return round(float(values.mean()), 2)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Measure the encoders of the command line."""
    generator = load_generator(args.generator)
    precision = precision_of(generator, "auto")
    generator.precision = DTYPES[precision]
    true = People.of(unseen(args.people, args.seed))
    hidden = {
        name: list(covered(true.scores[: args.covered or args.people], name, args.seed)) for name in OCCLUDERS
    }
    fits = Fits.of(generator, true.first(args.fits)) if args.fits else None
    given = dict(text.split("=", 1) for text in args.encoder)
    names = list(given) or [name for name in ENCODERS if encoder_file(name).is_file()]
    rows = []
    for name in names:
        encoder = encoder_for(name, given.get(name, ""), generator)
        row: dict[str, Any] = {"encoder": name, "frames_per_second": speed(encoder)}
        row |= plain(encoder, generator, true, fits, args.sheet, given.get(name, ""))
        row |= behind(encoder, generator, hidden)
        row |= {"real": real(args, name)} if args.clips else {}
        print_aside(row)
        rows.append(row)
    rows.sort(key=lambda row: row["psnr_refined"] is not None)  # others begin at codes of the first
    return {
        "machine": machine(),
        "generator": generator.card.fingerprint,
        "people": args.people,
        "covered": args.covered or args.people,
        "fits": args.fits,
        "seed": args.seed,
        "threads": torch.get_num_threads(),
        "precision": precision,
        "rows": rows,
    }


def main(words: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=500)
    parser.add_argument("--covered", type=int, default=0, help="people behind each occluder; 0: all")
    parser.add_argument("--fits", type=int, default=8, help="people that codes are fitted to as well")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--generator", default="bundled")
    parser.add_argument(
        "--encoder",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="an encoder's file; may be given several times; without it those that are shipped",
    )
    parser.add_argument("--clips", type=Path, nargs="+", default=[], metavar="FILE", help="real clips")
    parser.add_argument("--face-network", type=Path, metavar="FILE", help="as --identity of invid score")
    parser.add_argument(
        "--sheet",
        type=Path,
        metavar="FILE",
        help="PNG; one for each encoder, with its name added: pictures, codes told, second stage, true codes",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, which is always done")
    parser.add_argument("--out", type=Path, metavar="FILE")
    args = parser.parse_args(words)
    report(measure(args), args.out)


if __name__ == "__main__":
    main()
