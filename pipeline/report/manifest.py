"""`manifest.json`: what a job read, did and wrote (docs/formats.md), and the way back to its arrays."""

from __future__ import annotations

import contextlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from inverters.generators.small_files import read_json
from pipeline.clip import Cameras, Clip, FaceTrack, Reason, Status
from pipeline.errors import UserError, shortened
from pipeline.report.json_values import finite, plain
from pipeline.report.output_folder import dead_drafts, output_errors
from pipeline.request.edits import format_edit
from pipeline.request.faces import Face
from pipeline.request.settings import Settings
from storage import CacheReader, StageResult, is_cache

FORMAT = 1
MANIFEST = "manifest.json"
_MOST_BYTES = 1 << 28
_EDIT = {"name": str, "strength": (int, float), "start": (int, float, None), "stop": (int, float, None)}
_VIEW = {"yaw": (int, float), "pitch": (int, float), "orbit": bool}
_FORM: dict[str, Any] = {
    "input": {"path": str, "width": int, "height": int},
    "frames": {"total": int},
    "settings": {"edit": {"edits": [_EDIT], "view": (_VIEW, None), "remove_occluder": bool}},
    "metrics": {"reconstruction": dict.fromkeys(("psnr", "ssim"), (int, float, None))},
    "per_frame": {"time": [(int, float)]},
    "arrays": {...: str},
    "cache": {"root": str, "keys": {...: str}},
    "outputs": {...: str},
}
"""What is read of a manifest: a table by name (... for any), a list of alike values, one of several types."""
_PACKAGES = ("torch", "numpy", "av", "mediapipe", "zarr", "lpips", "prefect")


@dataclass
class StageTime:
    """Seconds spent on one kind of stage, and whether all of it came from the cache."""

    name: str
    seconds: float
    cached: bool


@dataclass(frozen=True)
class FaceRecord:
    """What was found of one of the faces asked for; measured: its rendered clip and metrics."""

    face: Face
    track: FaceTrack
    measured: StageResult


@dataclass
class JobRecord:
    """What a job has gathered by its end, in the order in which a manifest tells it."""

    path: Path
    clip: Clip
    track: FaceTrack
    settings: Settings
    generator: dict[str, Any]
    device: str
    renderer: str
    precision: str
    cache_root: Path
    stages: list[StageTime]
    results: Mapping[str, StageResult]
    outputs: Mapping[str, str] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    request: str = ""
    faces: Sequence[FaceRecord] = ()
    """All faces asked for; `track` is that of the first."""


def versions() -> dict[str, str]:
    """Versions of Python, Invid and what decides about its numbers; missing packages are left out."""
    found = {"python": platform.python_version()}
    for name in ("invid", *_PACKAGES):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def build_manifest(record: JobRecord) -> dict[str, Any]:
    """The manifest as JSON values."""
    clip, track = record.clip, record.track
    measured = record.results.get("smooth", record.results["finetune"])
    quality = _quality(measured, track)
    usable = track.usable
    edited = len({int(frame) for face in record.faces for frame in face.track.usable} | set(usable.tolist()))
    manifest = {
        "format": FORMAT,
        "input": {
            "path": str(record.path.absolute()),
            "content_hash": clip.content_hash,
            "width": clip.width,
            "height": clip.height,
            "duration": clip.duration,
            "rate": float(clip.rate),
            "has_audio": clip.has_audio,
        },
        "settings": asdict(record.settings),
        "versions": versions(),
        "generator": record.generator,
        "device": record.device,
        "renderer": record.renderer,
        "precision": record.precision,
        "frames": {
            "total": len(clip),
            "edited": edited,
            "fitted": len(track.fitted),
            "interpolated": int((track.status == Status.INTERPOLATED).sum()),
            "passed_through": len(clip) - edited,
        },
        "faces": [_face(face) for face in record.faces],
        "stages": [asdict(stage) for stage in record.stages],
        "metrics": {
            "reconstruction": {k: None if v is None else float(np.mean(v)) for k, v in quality.items()}
        },
        "per_frame": {
            "status": track.status.tolist(),
            "reason": [Reason(value).said or None for value in track.reasons.tolist()],
            "repeats": track.first.tolist(),
            "time": clip.times.tolist(),
            **{k: _spread(v, usable, len(clip)) for k, v in quality.items()},
        },
        "loss_used": record.results["finetune"].meta["info"].get("perceptual_loss"),
        "arrays": {
            f"{name}/{array}": stored.hash
            for name, result in record.results.items()
            for array, stored in sorted(result.arrays.items())
        },
        "cache": {
            "root": str(record.cache_root.resolve()),
            "keys": {name: result.key for name, result in record.results.items()},
        },
        "outputs": dict(record.outputs),
        "output_hashes": dict(record.hashes),
        "notes": list(record.notes),
        "request": record.request,
    }
    result: dict[str, Any] = plain(manifest)
    return result


def _quality(measured: StageResult, track: FaceTrack) -> dict[str, npt.NDArray[Any] | None]:
    """PSNR, SSIM and LPIPS of every frame with a face, where they were measured."""
    found = {name: _metric(measured, name) for name in ("psnr", "ssim", "lpips")}
    return {name: None if values is None else values[track.rows] for name, values in found.items()}


def _face(record: FaceRecord) -> dict[str, Any]:
    """One of the faces asked for: its edits, its frames, and why the others are not edited."""
    track, usable = record.track, record.track.usable
    quality = _quality(record.measured, track)
    return {
        "face": record.face.number,
        "edits": [format_edit(edit) for edit in record.face.edits],
        "frames": {"edited": len(usable), "passed_through": len(track.status) - len(usable)},
        "not_edited": {
            Reason(value).said: int((track.reasons == value).sum())
            for value in sorted(set(track.reasons.tolist()) - {int(Reason.EDITED)})
        },
        "metrics": {k: None if v is None else float(np.mean(v)) for k, v in quality.items()},
        "per_frame": {
            "status": track.status.tolist(),
            "reason": [Reason(value).said or None for value in track.reasons.tolist()],
        },
    }


def _metric(result: StageResult, name: str) -> npt.NDArray[Any] | None:
    return result.arrays[name].read() if name in result.arrays else None


def _spread(
    values: npt.NDArray[Any] | None, usable: npt.NDArray[np.int64], total: int
) -> list[float | None] | None:
    """One value a frame of the source, None where there is no face."""
    if values is None:
        return None
    out: list[float | None] = [None] * total
    for frame, value in zip(usable, values):
        out[int(frame)] = float(value)
    return out


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest as JSON text."""
    with output_errors(path.parent):
        path.write_text(json.dumps(manifest, indent=1, allow_nan=False) + "\n")


def grouped(outputs: Mapping[str, Any]) -> dict[str, list[str]]:
    """Files of each output in order: those of a sequence of pictures are `edited.1001`, `edited.1002`, ..."""
    found: dict[str, list[str]] = {}
    for key, file in outputs.items():
        found.setdefault(str(key).partition(".")[0], []).append(str(file))
    return found


def curves(
    record: JobRecord, manifest: Mapping[str, Any], cameras: Cameras
) -> dict[str, Sequence[float | None]]:
    """What the report draws: losses by step, metrics and camera angles by frame."""
    found: dict[str, Sequence[float | None]] = {}
    for stage in ("invert", "finetune"):
        for name, values in record.results[stage].meta["history"].items():
            found[f"losses/{name}"] = values
    for name in ("psnr", "ssim", "lpips"):
        values = manifest["per_frame"][name]
        if values is not None:
            found[f"{name}/{name}"] = values
    back = -cameras.cam2world[:, :3, 2]  # from the face towards the camera
    found["camera/yaw"] = [finite(v) for v in np.arctan2(back[:, 0], back[:, 2])]
    found["camera/pitch"] = [finite(v) for v in np.arcsin(np.clip(back[:, 1], -1, 1))]
    return found


def files_of(out: Path) -> dict[str, str]:
    """Names and hashes of the files that earlier jobs left in `out`, with an empty hash for the manifest.

    A job that was killed while it gave its files their places has left its manifest in its draft.
    """
    found: dict[str, str] = {}
    for folder in (*dead_drafts(out), out):
        with contextlib.suppress(UserError, KeyError, AttributeError, TypeError):
            manifest = read_manifest(folder)
            hashes = manifest["output_hashes"]
            found |= {name: hashes[key] for key, name in manifest["outputs"].items() if key in hashes}
            found[MANIFEST] = ""
    return found


def _wrong(value: Any, form: Any) -> tuple[str, ...] | None:
    """The way to the first value that is not of its form, None where all are."""
    if isinstance(form, tuple):
        return None if any(_wrong(value, one) is None for one in form) else ()
    if isinstance(form, type):
        return None if isinstance(value, form) and isinstance(value, bool) == (form is bool) else ()
    if form is None:
        return None if value is None else ()
    if not isinstance(value, type(form)):
        return ()
    if isinstance(form, list):
        inner: Any = ((str(k), one, form[0]) for k, one in enumerate(value))
    elif ... in form:
        inner = ((name, one, form[...]) for name, one in value.items())
    else:
        inner = ((name, value.get(name, ...), one) for name, one in form.items())
    return next(((name, *rest) for name, one, rule in inner if (rest := _wrong(one, rule)) is not None), None)


def read_manifest(out: Path) -> dict[str, Any]:
    """The manifest in a job's --out folder, perhaps of an earlier version. Raises UserError."""
    path = out / MANIFEST
    try:
        manifest = read_json(path, _MOST_BYTES)
    except FileNotFoundError:
        raise UserError(f"{out} holds no {MANIFEST}; give the --out folder of a finished job") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); run the job again") from None
    if not isinstance(manifest, dict) or "cache" not in manifest:
        raise UserError(f"{path} is not the manifest of a job; run the job again")
    return manifest


_SHAPES: dict[str, tuple[int, ...]] = {
    "track/landmarks": (68, 2),
    "track/dense": (478, 2),
    "track/status": (),
    "track/repeats": (),
    "track/shot": (),
    "track/reason": (),
    "align/affine": (2, 3),
    "align/frames": (),
    "camera/cam2world": (4, 4),
    "camera/intrinsics": (3, 3),
    "invert/inversion.cameras.cam2world": (4, 4),
    "invert/inversion.cameras.intrinsics": (3, 3),
    "finetune/inversion.cameras.cam2world": (4, 4),
    "finetune/inversion.cameras.intrinsics": (3, 3),
}
"""Shapes of rows of arrays that have the same in every job (docs/formats.md)."""


class JobResult:
    """A finished job, opened again from its --out folder: the manifest, and the cached arrays behind it.

    `array("align/crops")`, `array("edit/removal/images")` and so on, by the names in the manifest's `arrays`.
    """

    def __init__(self, out: Path) -> None:
        self.manifest, self.out = read_manifest(out), out
        self._check()

    def _check(self) -> None:
        """Raise UserError, which names the first value of another kind than `build_manifest` writes."""
        if (wrong := _wrong(self.manifest, _FORM)) is not None:
            raise UserError(
                f"{self.out / MANIFEST}: {'.'.join(wrong)} is missing or of another kind; run the job again"
            )

    @cached_property
    def _cache(self) -> CacheReader:
        root = Path(self.manifest["cache"]["root"])
        if not is_cache(root):
            raise UserError(f"the cache of {self.out} is gone ({root}); run the job again")
        return CacheReader(root)

    def names(self) -> list[str]:
        """The arrays of this job."""
        return sorted(self.manifest["arrays"])

    def array(self, name: str) -> npt.NDArray[Any] | None:
        """An array by name, read whole; None where the job has no such array.

        Raises UserError where the cache no longer holds it.
        """
        stage, _, array = name.rpartition("/")
        if name not in self.manifest["arrays"]:
            return None
        found = self._cache.get(str(self.manifest["cache"]["keys"].get(stage)))
        if found is None or array not in found.arrays:
            raise UserError(f"the cache no longer holds '{shortened(name)}' of {self.out}; run the job again")
        stored = found.arrays[array]
        if stored.shape[1:] != _SHAPES.get(name, stored.shape[1:]):
            raise UserError(
                f"the cache of {self.out} holds '{shortened(name)}' in another shape; run the job again"
            )
        return stored.read()

    def shown(self, name: str) -> npt.NDArray[Any] | None:
        """`reconstruction` or `blend` as the outputs have it: smoothed in time where that was asked for."""
        smooth = self.array(f"smooth/{name}")
        return self.array(f"finetune/{name}") if smooth is None else smooth
