"""Check whether an output folder is up to date, without importing torch."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Any

from inverters.encoders.file_pairs import files_of
from inverters.methods.table import ENCODERS, encoder_file
from pipeline.errors import UserError
from pipeline.report.manifest import JobResult
from pipeline.request.checks import definite
from pipeline.request.paths import user_paths
from pipeline.request.settings import Settings
from pipeline.stages.plan import Plan, plan_of
from pipeline.stages.stage import read_values
from pipeline.video.sequences import input_hash
from storage import canonical_json, file_hash, folder_hash

_PRESETS = ("draft", "fast")
"""Those that a device may choose for itself."""


def request_digest(path: Path, settings: Settings, plan: Plan | None = None) -> str:
    """A hash of all that decides about a job's outputs.

    That is, for each stage of the plan, its name, version and the settings that it reads; the bytes of every
    file that the request names; the version of Invid, which stands for what `Stage.facts` needs torch for.
    """
    settings = definite(settings, path)
    stages = plan or plan_of(settings)
    rules = [[stage.name, stage.version, read_values(settings, stage.reads)] for stage in stages]
    read = [
        folder_hash(named.path) if named.folder else file_hash(named.path) for named in user_paths(settings)
    ]
    if settings.generator == "bundled":
        folder = Path(str(files("inverters"))) / "generators"
        read += [file_hash(folder / f"bundled.{suffix}") for suffix in ("safetensors", "json")]
    chosen = settings.invert
    for name in ENCODERS:
        if name in (chosen.start, chosen.method):
            first = encoder_file(name) if chosen.encoder is None else Path(chosen.encoder)
            read += [file_hash(part) for part in files_of(name, first) if part.is_file()]
    text = canonical_json([input_hash(path), rules, read, metadata.version("invid")])
    return hashlib.sha256(text.encode()).hexdigest()


def already_done(path: Path, out: Path, settings: Settings, preset: str | None) -> dict[str, Any] | None:
    """The manifest in `out` where it is of this very request and every output is as it was written.

    With `strict` an earlier job without it does not count: it tells of signs of damage and goes on.

    preset: as asked for; None leaves it to the device, whose choice an earlier job has made.
    """
    try:
        manifest = JobResult(out).manifest
        if preset is None and manifest["settings"]["invert"]["preset"] in _PRESETS:
            chosen = manifest["settings"]["invert"]["preset"]
            settings = replace(settings, invert=replace(settings.invert, preset=chosen))
        if settings.strict and not manifest["settings"]["strict"]:
            return None
        if manifest["request"] != request_digest(path, settings):
            return None
        for name, digest in manifest["output_hashes"].items():
            if file_hash(out / Path(manifest["outputs"][name]).name) != digest:
                return None
    except (UserError, OSError, KeyError, TypeError, AttributeError):
        return None
    return manifest
