"""Pictures of unseen people beside a generator's: PSNR, LPIPS, identity, and the time of a true picture."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.drawn_people import YAWS, camera, generated, person, pixels, true_picture, unseen
from inverters.generators.eg3d import Generator
from inverters.metrics import psnr
from inverters.people.body import body
from inverters.people.labels import LIPS, MOUTH, NAMES
from inverters.people.person import make_person
from inverters.people.picture import draw
from inverters.rendering.cameras import FOCAL, RADIUS, default_intrinsics
from pipeline.clip import F32
from pipeline.faces.identity import FaceEmbedder
from pipeline.faces.mediapipe_mesh import MediaPipeMesh

GROWN = 6
"""Pixels by which the mouth's window is larger than the mouth in the label map, on each side."""
EYE_HALF = (0.05, 0.03)
"""Half width and height of an eye's window in world units: with lids, lashes and a shut eye's crease."""


@dataclass(frozen=True)
class Row:
    """One picture of a person; NaN where there is nothing to measure."""

    person: int
    yaw: float
    psnr: float
    lpips: float
    psnr_eyes: float
    psnr_mouth: float
    found: bool
    same: float
    """Cosine of the face network between the generator's picture and the true one."""
    parts: Tensor
    """Pixels of each label, and their squared error, [2,labels]."""


Say = Callable[[str], None]


def load_lpips(features: Path | None) -> Any | None:
    """LPIPS-alex from a file of torchvision's AlexNet features; None without one."""
    if features is None:
        return None
    import lpips

    network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    weights = torch.load(features, weights_only=True)
    own = network.net.state_dict()
    for name in own:
        _, layer, kind = name.split(".")
        own[name] = weights[f"features.{layer}.{kind}"]
    network.net.load_state_dict(own)
    return network


def mouth_window(label: Tensor) -> Tensor:
    """Box around the mouth of a label map [H,W], GROWN pixels larger on each side: bool [H,W]."""
    inside = torch.isin(label, label.new_tensor((LIPS, MOUTH)))
    mask = torch.zeros_like(inside)
    rows, columns = (torch.nonzero(inside.any(axis)).flatten() for axis in (1, 0))
    if len(rows):
        top, left = max(0, int(rows[0]) - GROWN), max(0, int(columns[0]) - GROWN)
        mask[top : int(rows[-1]) + GROWN + 1, left : int(columns[-1]) + GROWN + 1] = True
    return mask


def eye_windows(scores: Tensor, yaw: float, size: int) -> Tensor:
    """Boxes around the eyes of the person with these scores [P], open or shut: bool [size,size]."""
    fine, level = person(scores).shape.fine, body().level2
    mask = torch.zeros(size, size, dtype=torch.bool)
    for part in ("left_eye", "right_eye"):
        x, y = project(fine[level.is_part(part)].mean(0), yaw, size)
        wide, high = (half * FOCAL / RADIUS * size for half in EYE_HALF)
        top, left = max(0, round(y - high)), max(0, round(x - wide))
        mask[top : round(y + high), left : round(x + wide)] = True
    return mask


def project(point: Tensor, yaw: float, size: int) -> tuple[float, float]:
    """Column and row in pixels at which `camera(yaw)` sees a point [3]."""
    cam2world = camera(yaw)
    seen = default_intrinsics(1)[0] @ (cam2world[:3, :3].T @ (point - cam2world[:3, 3]))
    return float(seen[0] / seen[2]) * size, float(seen[1] / seen[2]) * size


class _Eyes:
    """The networks that look at pictures."""

    def __init__(self, lpips: Path | None, embedder: FaceEmbedder | None) -> None:
        import mediapipe

        self.lpips, self.embedder, self.mesh = load_lpips(lpips), embedder, MediaPipeMesh()
        self.finder = mediapipe.solutions.face_mesh.FaceMesh(
            static_image_mode=True, max_num_faces=1, min_detection_confidence=0.5
        )

    def embed(self, images: Sequence[Tensor], truth: Tensor) -> F32 | None:
        """Embeddings of images [3,S,S], all aligned by the landmarks of the true one; None without a face."""
        if self.embedder is None:
            return None
        faces = self.mesh.detect(pixels(truth))
        if not faces:
            return None
        points = [faces[0].landmarks68] * len(images)
        found = self.embedder.embed((pixels(i) for i in images), points)
        return found / np.linalg.norm(found, axis=1, keepdims=True)


@torch.no_grad()
def fidelity(
    generator: Generator,
    people: int,
    seed: int,
    all_yaws: bool,
    lpips: Path | None,
    embedder: FaceEmbedder | None,
    say: Say,
) -> dict[str, Any]:
    """Measure pictures of unseen people: means of each figure in all and by yaw, and identities."""
    eyes, scores = _Eyes(lpips, embedder), unseen(people, seed)
    rows: list[Row] = []
    frontal: list[F32] = []
    for k, score in enumerate(scores):
        for yaw in YAWS if all_yaws else (YAWS[k % len(YAWS)],):
            row, embedded = _compare(generator, score, k, yaw, eyes)
            rows.append(row)
            if yaw == 0.0 and embedded is not None:
                frontal.append(embedded)
        if (k + 1) % 10 == 0 or k + 1 == people:
            say(f"fidelity: {k + 1}/{people} people, PSNR {np.mean([r.psnr for r in rows]):.2f} dB")
    by_yaw = {f"{yaw:+.1f}": _summary([r for r in rows if r.yaw == yaw]) for yaw in YAWS}
    found = _summary(rows)
    names = ("psnr", "lpips", "psnr_eyes", "psnr_mouth", "found")
    by_label = parts_of(torch.stack([row.parts for row in rows]).sum(0))
    identity = {"same": found["same"]} | _different(frontal)
    known = {"by_yaw": by_yaw, "by_label": by_label, "identity": identity if embedder else None}
    return {n: found[n] for n in names} | known


def squared_errors(image: Tensor, truth: Tensor, label: Tensor) -> Tensor:
    """Pixels of each label of a map [H,W] and the sum of their squared errors, [2,labels]; images [3,H,W]."""
    errors = ((image.clamp(-1, 1) - truth.clamp(-1, 1)) / 2).square().mean(0).double().flatten()
    labels = label.flatten().long()
    counts = torch.bincount(labels, minlength=len(NAMES)).double()
    return torch.stack([counts, torch.bincount(labels, errors, minlength=len(NAMES))])


def parts_of(sums: Tensor) -> list[dict[str, Any]]:
    """Area, share of the squared error and PSNR of what pixels show, from sums of `squared_errors`."""
    area, error = sums / sums.sum(1, keepdim=True).clamp_min(1e-12)
    level = -10 * torch.log10((sums[1] / sums[0]).clamp_min(1e-12))
    return [
        {"label": n, "area": round(a, 4), "error": round(e, 4), "psnr": round(p, 2)}
        for n, a, e, p in zip(NAMES, area.tolist(), error.tolist(), level.tolist(), strict=True)
        if a > 0
    ]


def _compare(
    generator: Generator, score: Tensor, number: int, yaw: float, eyes: _Eyes
) -> tuple[Row, F32 | None]:
    """One picture, and the embeddings [2,D] of the generator's and the true picture."""
    picture = true_picture(score, yaw, generator.config.img_resolution)
    image, truth = generated(generator, score, yaw)[None], picture.image[None]
    eyes_at = eye_windows(score, yaw, truth.shape[-1])[None]
    mouth_at = mouth_window(picture.label)[None]
    embedded = eyes.embed([image[0], truth[0]], truth[0])
    row = Row(
        person=number,
        yaw=yaw,
        psnr=psnr(image, truth).item(),
        lpips=float("nan") if eyes.lpips is None else eyes.lpips(image, truth.clamp(-1, 1)).item(),
        psnr_eyes=psnr(image, truth, eyes_at).item(),
        psnr_mouth=psnr(image, truth, mouth_at).item(),
        found=eyes.finder.process(pixels(image[0])).multi_face_landmarks is not None,
        same=float("nan") if embedded is None else float(embedded[0] @ embedded[1]),
        parts=squared_errors(image[0], truth[0], picture.label),
    )
    return row, embedded


def _summary(rows: Sequence[Row]) -> dict[str, float | None]:
    """Means of each figure over the pictures that have it."""
    names = {"psnr": 2, "lpips": 4, "psnr_eyes": 2, "psnr_mouth": 2, "found": 4, "same": 3}
    out: dict[str, float | None] = {"pictures": len(rows)}
    for name, digits in names.items():
        known = [v for v in (float(getattr(r, name)) for r in rows) if np.isfinite(v)]
        out[name] = round(float(np.mean(known)), digits) if known else None
    return out


def _different(frontal: Sequence[F32]) -> dict[str, float | None]:
    """Mean cosine between frontal pictures of different people: the generator's, and the true ones."""
    if len(frontal) < 2:
        return {"different": None, "different_true": None}
    every = np.stack(frontal)
    upper = np.triu_indices(len(every), 1)
    means = [(every[:, k] @ every[:, k].T)[upper].mean() for k in (0, 1)]
    return {"different": round(float(means[0]), 3), "different_true": round(float(means[1]), 3)}


@torch.no_grad()
def speed(people: int, seed: int) -> dict[str, float]:
    """Median seconds of making a person, and of its picture of 256 x 256, on one thread.

    Processor time, so that other work on the machine does not count.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        scores = unseen(people + 1, seed)
        making, drawing = [], []
        for score in scores:
            began = time.process_time()
            who = make_person(score)
            made = time.process_time()
            draw(who, camera(0.3), default_intrinsics(1)[0], (256, 256))
            making.append(made - began)
            drawing.append(time.process_time() - made)
    finally:
        torch.set_num_threads(threads)
    # The first person fills the caches.
    return {"picture_s": round(median(drawing[1:]), 4), "person_s": round(median(making[1:]), 4)}
