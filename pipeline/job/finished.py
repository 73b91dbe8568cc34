"""Whether a folder already holds what is asked for: said without loading a model, or even torch."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.report.manifest import JobResult
from pipeline.request.settings import Settings
from pipeline.stages import (
    align,
    camera,
    edit,
    finetune,
    hidden,
    inset,
    invert,
    renders,
    stitch,
    track,
    videos,
)
from pipeline.video import temporal_stabilization
from storage import canonical_json, file_hash, folder_hash

_PRESETS = ("draft", "fast")
"""Those that a device may choose for itself."""


def request_of(path: Path, settings: Settings) -> str:
    """A hash of all that decides about a job's outputs: the bytes of every file it reads, the settings but
    for the device, the versions of the stages.
    """
    rules = asdict(settings)
    del rules["device"], rules["renderer"], rules["strict"]
    named = [settings.camera.labels, settings.track.detector.partition(":")[2] or None]
    named += [None if settings.generator == "bundled" else settings.generator, *settings.edit.directions]
    read = [None if name is None else file_hash(Path(name)) for name in named]
    masks = settings.invert.occluder_masks
    read.append(None if masks is None else folder_hash(Path(masks)))
    if settings.generator == "bundled":
        folder = Path(str(files("inverters"))) / "generators"
        read += [file_hash(folder / f"bundled.{suffix}") for suffix in ("safetensors", "json")]
    stages = [m.VERSION for m in (track, align, camera, invert, finetune, edit, stitch, hidden, inset)]
    stages += [videos.COMPOSITE_VERSION, videos.ENCODE_VERSION, renders.SMOOTH_VERSION]
    stages += [temporal_stabilization.VERSION]
    text = canonical_json([file_hash(path), rules, read, stages, metadata.version("invid")])
    return hashlib.sha256(text.encode()).hexdigest()


def already_done(path: Path, out: Path, settings: Settings, preset: str | None) -> dict[str, Any] | None:
    """The manifest in `out` where it is of this very request and every output is as it was written.

    preset: as asked for; None leaves it to the device, whose choice an earlier job has made.
    """
    try:
        manifest = JobResult(out).manifest
        if preset is None and manifest["settings"]["invert"]["preset"] in _PRESETS:
            chosen = manifest["settings"]["invert"]["preset"]
            settings = replace(settings, invert=replace(settings.invert, preset=chosen))
        if manifest["request"] != request_of(path, settings):
            return None
        for name, digest in manifest["output_hashes"].items():
            if file_hash(out / Path(manifest["outputs"][name]).name) != digest:
                return None
    except (UserError, OSError, KeyError, TypeError, AttributeError):
        return None
    return manifest
