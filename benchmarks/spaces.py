"""Latent spaces: reconstruction, and what edits of growing strength leave of a face.

    python -m benchmarks.spaces --people 50 --seed 1 --json --out benchmarks/results/spaces.json

Katsumata et al. 2024: table 1 and figures 7 and 8. One frontal picture of each unseen person is fitted in
every space by the same steps of the same loss (squared error of random rays, Adam 0.01; base codes held to
their start). Measured on the final picture: MSE on [-1,1], SSIM, MS-SSIM, LPIPS (`--lpips`, else null).
`step_ms`: median processor time of a step. `by_strength`: one random direction a person (deviation 0.2 a
number, the same vector in w and in z): the face network's cosine to the true picture (`--face-network`, else
null), and the Frechet distance between edited and true pictures, of that network's embeddings (with fewer
people than numbers it compares rows, and nothing else). For strengths up to 4, PSNR to the true picture of
the person with a parameter (`--parameter`) raised by as many standard deviations. `--crops DIR`: the same
table for real crops of EG3D's layout (label.json). `--base-encoder FILE` begins base codes at what that
encoder tells. `--spaces` takes some of them; with `--out` the rows of others that were measured in
the same way are kept. `--sheet` draws one person.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.drawn_people import camera, pixels, true_picture, unseen
from benchmarks.generator_fidelity import load_lpips
from benchmarks.report import report
from inverters.base import Inversion, InversionProblem
from inverters.editing.directions import Direction, own_directions
from inverters.editing.edit import edit_inversion
from inverters.fields.synthesis import InversionRenderer
from inverters.fitting.code_settings import CodeSettings, in_space
from inverters.generators.load import load_generator
from inverters.methods.table import find_method
from inverters.metrics import ms_ssim, psnr, ssim
from inverters.people.params import index
from inverters.rendering.cameras import default_intrinsics
from pipeline.clip import F32
from pipeline.directions.fit import RANDOM_DEVIATION
from pipeline.faces.identity import FaceEmbedder, load_embedder
from pipeline.faces.mediapipe_mesh import MediaPipeMesh
from pipeline.machine import machine
from pipeline.request.edits import Edit

SPACES = ("z", "z+", "w+", "p_n+", "f/z", "f/w+", "f/p_n+", "f/z+")
SHEET = ("w+", "p_n+", "z+", "f/w+", "f/p_n+", "f/z+")
STRENGTHS = (0, 1, 2, 3, 4, 5, 10, 20, 50)
SHOWN = (0, 5, 10, 20, 50)
MOST_TRUE = 4
"""Greatest strength with a true picture, in standard deviations of the parameter."""
SAMPLES = (24, 24)
"""Coarse and fine samples of a ray."""
FIELDS = ("mse", "ssim", "ms_ssim", "lpips")
Say = Callable[[str], None]
_ASKED = ("people", "seed", "steps", "rays", "parameter", "base_encoder")
"""Options that a result belongs to."""


@dataclass(frozen=True)
class Face:
    """A picture [3,S,S] in [-1,1] and its camera; scores [P] of a person, None of a real one."""

    image: Tensor
    cam2world: Tensor
    intrinsics: Tensor
    scores: Tensor | None = None


@dataclass(frozen=True)
class Judges:
    """Networks that look at pictures; None where no file was given."""

    lpips: Any | None
    embedder: FaceEmbedder | None
    mesh: MediaPipeMesh

    def embed(self, images: Sequence[Tensor], truth: Tensor) -> F32 | None:
        """Unit embeddings [n,D] of images [3,S,S] at the landmarks of the true one; None without a face."""
        faces = [] if self.embedder is None else self.mesh.detect(pixels(truth))
        if not faces or self.embedder is None:
            return None
        points = [faces[0].landmarks68] * len(images)
        found = self.embedder.embed((pixels(i) for i in images), points)
        return found / np.linalg.norm(found, axis=1, keepdims=True)


def people(count: int, seed: int, size: int) -> list[Face]:
    """Frontal pictures of people that no generator was trained on."""
    lens = default_intrinsics(1)
    return [
        Face(true_picture(scores, 0.0, size).image.clamp(-1, 1), camera(0.0)[None], lens, scores)
        for scores in unseen(count, seed)
    ]


def crops(folder: Path, count: int, size: int) -> list[Face]:
    """The first real crops of a folder in EG3D's layout, by name, resized to the generator's size."""
    from PIL import Image

    labels = dict(json.loads((folder / "label.json").read_text())["labels"])
    found = []
    for name in sorted(labels)[:count]:
        with Image.open(folder / name) as picture:
            array = np.asarray(picture.convert("RGB").resize((size, size), Image.Resampling.LANCZOS))
        image = torch.from_numpy(array.copy()).permute(2, 0, 1).float() / 127.5 - 1
        label = torch.tensor(labels[name])
        found.append(Face(image, label[:16].reshape(1, 4, 4), label[16:].reshape(1, 3, 3)))
    return found


def fit(
    generator: Any, face: Face, space: str, steps: int, rays: int, base_encoder: str | None = None
) -> tuple[Inversion, list[float]]:
    """Codes of a face in a space, and the processor time of each step but the first in milliseconds."""
    method = find_method("w+")
    codes = CodeSettings(epochs=1, shared=False, rate=0.01, rays=rays, coarse=SAMPLES[0], fine=SAMPLES[1])
    codes = replace(in_space(codes, space), base_encoder=base_encoder)
    settings = replace(method.presets["draft"], name="bench", codes=codes, render=SAMPLES)
    crop = pixels(face.image)[None]
    problem = InversionProblem(crop, np.zeros(1, np.int64), face.cam2world, face.intrinsics)
    times: list[float] = []

    def on_step(*_: Any) -> None:
        times.append(time.process_time())

    found = method(generator, problem, settings=settings, steps=steps, on_step=on_step)
    return found, [1000 * (b - a) for a, b in pairwise(times)]


def shown(generator: Any, face: Face, inversion: Inversion, ws: Tensor | None = None) -> Tensor:
    """The final picture [3,S,S] of an inversion, or of its edited codes."""
    renderer = InversionRenderer(generator, inversion)
    return renderer.render(np.zeros(1, np.int64), face.cam2world, face.intrinsics, ws=ws).image[0]


@torch.no_grad()
def reconstruction(image: Tensor, truth: Tensor, judges: Judges) -> dict[str, float | None]:
    """The measures of table 1 of a picture [3,S,S]."""
    pair = image[None], truth[None]
    distance = None if judges.lpips is None else float(judges.lpips(*pair))
    return {
        "mse": float((image - truth).square().mean()),
        "ssim": float(ssim(*pair)),
        "ms_ssim": float(ms_ssim(*pair)),
        "lpips": distance,
    }


def random_direction(generator: Any, space: str, number: int) -> Direction:
    """Direction `number`: the same vector in z and in w."""
    width = max(generator.config.z_dim, generator.config.w_dim)
    vector = RANDOM_DEVIATION * torch.randn(width, generator=torch.Generator().manual_seed(7000 + number))
    in_z = space.split("/")[-1] in ("z", "z+")
    width = generator.config.z_dim if in_z else generator.config.w_dim
    return Direction(vector[:width], "", "", codes="z" if in_z else "w")


def edited(generator: Any, face: Face, inversion: Inversion, direction: Direction, strength: float) -> Tensor:
    """The final picture [3,S,S] of codes moved along a direction."""
    named, edits = {"it": direction}, [Edit("it", strength)]
    return shown(generator, face, inversion, edit_inversion(generator, inversion, [0.0], edits, named))


def frechet(a: F32, b: F32) -> float:
    """Frechet distance of normal distributions fitted to rows a [N,D] and b [M,D].

    The trace of the root of the product of two covariances is the nuclear norm of the product of the centred
    rows, which holds for fewer rows than columns too.
    """
    x, y = (torch.from_numpy(v).double() for v in (a, b))
    mean = (x.mean(0) - y.mean(0)).square().sum()
    x, y = ((v - v.mean(0)) / max(len(v) - 1, 1) ** 0.5 for v in (x, y))
    small = [torch.linalg.qr(v, mode="r").R for v in (x, y)]  # the same singular values
    cross = torch.linalg.svdvals(small[0] @ small[1].T).sum()
    return float(mean + x.square().sum() + y.square().sum() - 2 * cross)


def true_edits(face: Face, parameter: str) -> dict[int, Tensor]:
    """True pictures of a person with a parameter raised, by standard deviations."""
    assert face.scores is not None
    found = {}
    for strength in (s for s in STRENGTHS if s <= MOST_TRUE):
        scores = face.scores.clone()
        scores[index(parameter)] += strength
        found[strength] = true_picture(scores, 0.0, face.image.shape[-1]).image.clamp(-1, 1)
    return found


def by_strength(
    generator: Any,
    faces: Sequence[Face],
    inversions: Sequence[Inversion],
    space: str,
    truths: Sequence[dict[int, Tensor]],
    parameter: str,
    judges: Judges,
) -> list[dict[str, float | None]]:
    """Identity, distance of distributions and PSNR to the true edit for each of STRENGTHS."""
    own = own_directions(generator).named.get(parameter)
    rows: list[dict[str, float | None]] = []
    for strength in STRENGTHS:
        seen, given, errors = [], [], []
        for number, (face, inversion) in enumerate(zip(faces, inversions, strict=True)):
            direction = random_direction(generator, space, number)
            image = edited(generator, face, inversion, direction, strength)
            pair = judges.embed([image, face.image], face.image)
            if pair is not None:
                seen.append(pair[0])
                given.append(pair[1])
            if own is not None and strength in truths[number]:
                image = edited(generator, face, inversion, own, strength)
                errors.append(float(psnr(image[None], truths[number][strength][None])))
        a, b = (np.stack(seen), np.stack(given)) if seen else (None, None)
        rows.append(
            {
                "strength": strength,
                "identity": None if a is None or b is None else round(float((a * b).sum(1).mean()), 4),
                "frechet": None if a is None or b is None else round(frechet(a, b), 4),
                "psnr_true_edit": round(float(np.mean(errors)), 3) if errors else None,
            }
        )
    return rows


def measure(args: argparse.Namespace, generator: Any, judges: Judges, say: Say) -> dict[str, Any]:
    """Rows of people, and of real crops where a folder is given."""
    size, sheet = generator.config.img_resolution, {}
    faces = people(args.people, args.seed, size)
    truths = [true_edits(face, args.parameter) for face in faces]
    say(f"{len(faces)} people drawn")
    real = [] if args.crops is None else crops(args.crops, args.real, size)
    rows, of_real = [], []
    for space in args.spaces:
        row, inversions = _table_row(generator, faces, space, args, judges)
        row["by_strength"] = by_strength(generator, faces, inversions, space, truths, args.parameter, judges)
        rows.append(row)
        say(f"{space}: {row}")
        if real:
            of_real.append(_table_row(generator, real, space, args, judges)[0])
            say(f"{space}, real: {of_real[-1]}")
        if space in SHEET and faces:
            direction = random_direction(generator, space, 0)
            sheet[space] = [edited(generator, faces[0], inversions[0], direction, s) for s in SHOWN]
    if args.sheet is not None and sheet:
        draw_sheet(faces[0].image, {name: sheet[name] for name in SHEET if name in sheet}, args.sheet)
    return {"rows": rows, "real": of_real}


def _table_row(
    generator: Any, faces: Sequence[Face], space: str, args: argparse.Namespace, judges: Judges
) -> tuple[dict[str, Any], list[Inversion]]:
    """Means of table 1 over faces, and their inversions."""
    inversions, times, found = [], [], []
    for face in faces:
        inversion, spent = fit(generator, face, space, args.steps, args.rays, args.base_encoder)
        inversions.append(inversion)
        times += spent
        found.append(reconstruction(shown(generator, face, inversion), face.image, judges))
    means = {name: _mean([f[name] for f in found]) for name in FIELDS}
    return {"space": space} | means | {"step_ms": round(median(times), 1)}, inversions


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), 5) if known else None


def draw_sheet(truth: Tensor, rows: dict[str, list[Tensor]], path: Path) -> None:
    """Write a sheet: a row a space, the truth and then a column a strength of SHOWN."""
    from PIL import Image, ImageDraw

    side, left, top = 160, 64, 18
    sheet = Image.new("RGB", (left + side * (len(SHOWN) + 1), top + side * len(rows)), "white")
    pen = ImageDraw.Draw(sheet)
    for column, text in enumerate(["true", *(f"strength {s}" for s in SHOWN)]):
        pen.text((left + side * (column + 0.5), 3), text, fill="black", anchor="ma")
    for row, (space, images) in enumerate(rows.items()):
        pen.text((6, top + side * row + 6), space, fill="black")
        for column, image in enumerate([truth, *images]):
            face = Image.fromarray(pixels(image)).resize((side, side), Image.Resampling.LANCZOS)
            sheet.paste(face, (left + side * column, top + side * row))
    path.parent.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {"quality": 88} if path.suffix == ".jpg" else {}
    sheet.save(path, **options)


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--generator", default="bundled", metavar="FILE")
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=1200, help="of every space (the paper's 1200)")
    parser.add_argument("--rays", type=int, default=1500, help="of a step; 0: whole frames")
    parser.add_argument("--spaces", nargs="+", default=list(SPACES), metavar="NAME")
    parser.add_argument("--base-encoder", metavar="FILE")
    parser.add_argument("--parameter", default="smile", metavar="NAME")
    parser.add_argument("--crops", type=Path, metavar="DIR")
    parser.add_argument("--real", type=int, default=12, help="at most so many real crops")
    parser.add_argument("--face-network", type=Path, metavar="FILE")
    parser.add_argument("--lpips", type=Path, metavar="FILE", help="torchvision's AlexNet features (.pth)")
    parser.add_argument("--sheet", type=Path, metavar="FILE")
    parser.add_argument("--json", action="store_true", help="print the result as JSON alone")
    parser.add_argument("--out", type=Path, metavar="FILE")
    return parser.parse_args(words)


def with_others(result: dict[str, Any], out: Path | None) -> dict[str, Any]:
    """The result with the rows of other spaces that `out` has, if they were measured in the same way."""
    if out is None or not out.exists():
        return result
    before = json.loads(out.read_text())
    same = (
        "fingerprint",
        "people",
        "seed",
        "steps",
        "rays",
        "parameter",
        "base_encoder",
        "network",
        "threads",
    )
    if any(before.get(name) != result[name] for name in same):
        return result
    merged = dict(result)
    for part in ("rows", "real"):
        rows = {row["space"]: row for row in [*before[part], *result[part]]}
        merged[part] = [rows[name] for name in sorted(rows, key=[*SPACES, *rows].index)]
    merged["seconds"] = before["seconds"] + result["seconds"]
    return merged


def _judges(args: argparse.Namespace) -> Judges:
    embedder = None if args.face_network is None else load_embedder(args.face_network)
    return Judges(load_lpips(args.lpips), embedder, MediaPipeMesh())


def main(words: list[str] | None = None) -> None:
    """Measure, print and write."""
    args, began = arguments(words), time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:5.0f} s] {text}", file=sys.stderr, flush=True)

    torch.manual_seed(0)
    generator = load_generator(args.generator)
    result = measure(args, generator, _judges(args), say)
    result |= {
        name: getattr(args, name) for name in ("people", "seed", "steps", "rays", "parameter", "base_encoder")
    }
    network = None if args.face_network is None else args.face_network.name
    result |= {"fingerprint": generator.card.fingerprint, "network": network, "machine": machine()}
    result |= {"threads": torch.get_num_threads(), "seconds": round(time.monotonic() - began)}
    result = with_others(result, args.out)
    if args.json or args.out is not None:
        report(result, args.out)
    else:
        for row in result["rows"]:
            print(row)


if __name__ == "__main__":
    main()
