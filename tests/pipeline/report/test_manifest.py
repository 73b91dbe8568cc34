"""The shape of manifest.json, as docs/formats.md promises it to other programs."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.job.walker import run_job
from pipeline.report.manifest import JobResult
from pipeline.request.edits import Edit
from pipeline.request.settings import EditSettings, Settings
from pipeline.stages.plan import plan_of
from storage import StageCache, content_hash
from tests.pipeline.fakes import FRAMES, install, write_clip

NUMBER = (int, float)
SHAPE: dict[str, Any] = {
    "format": int,
    "input": {
        "path": str,
        "content_hash": str,
        "width": int,
        "height": int,
        "duration": NUMBER,
        "rate": NUMBER,
        "has_audio": bool,
    },
    "settings": dict,
    "versions": dict,
    "generator": {"name": str, "fingerprint": str},
    "device": str,
    "renderer": str,
    "precision": str,
    "frames": dict.fromkeys(("total", "edited", "fitted", "interpolated", "passed_through"), int),
    "faces": list,
    "stages": list,
    "metrics": {"reconstruction": {"psnr": NUMBER, "ssim": NUMBER, "lpips": (*NUMBER, type(None))}},
    "per_frame": {
        **dict.fromkeys(("status", "reason", "repeats", "time", "psnr", "ssim"), list),
        "lpips": (list, type(None)),
    },
    "loss_used": (str, type(None)),
    "arrays": dict,
    "cache": {"root": str, "keys": dict},
    "outputs": dict,
    "output_hashes": dict,
    "notes": list,
    "request": str,
}


def check(value: Any, shape: Any, where: str = "manifest") -> None:
    if isinstance(shape, dict):
        assert isinstance(value, dict) and set(value) == set(shape), where
        for key, inner in shape.items():
            check(value[key], inner, f"{where}.{key}")
    else:
        assert isinstance(value, shape), f"{where} is a {type(value).__name__}"


def test_the_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    settings = Settings(edit=EditSettings(edits=(Edit("smile", 1.0, 0.2, 0.6),)))
    clip = write_clip(tmp_path / "clip.mp4")
    out = tmp_path / "out"
    manifest = run_job(clip, out, tmp_path / "cache", settings)
    check(manifest, SHAPE)
    assert json.loads((out / "manifest.json").read_text()) == manifest
    for stage, name in zip(manifest["stages"], plan_of(settings).kinds, strict=True):
        assert stage["name"] == name and stage["seconds"] >= 0 and isinstance(stage["cached"], bool)
    frames = manifest["frames"]
    assert frames["total"] == frames["edited"] + frames["passed_through"] == FRAMES
    for name in ("status", "reason", "repeats", "time", "psnr", "ssim"):
        assert len(manifest["per_frame"][name]) == FRAMES
    assert [v is None for v in manifest["per_frame"]["psnr"]] == [
        s == 0 for s in manifest["per_frame"]["status"]
    ]
    assert [r is None for r in manifest["per_frame"]["reason"]] == [
        s != 0 for s in manifest["per_frame"]["status"]
    ]
    (face,) = manifest["faces"]
    assert face["frames"] == {name: frames[name] for name in ("edited", "passed_through")}
    assert face["per_frame"]["reason"] == manifest["per_frame"]["reason"]
    assert manifest["input"]["content_hash"] == hashlib.sha256(clip.read_bytes()).hexdigest()
    assert manifest["settings"]["edit"]["edits"] == [
        {"name": "smile", "strength": 1.0, "start": 0.2, "stop": 0.6}
    ]
    for name, file in manifest["outputs"].items():
        assert not Path(file).is_absolute()
        assert hashlib.sha256((out / file).read_bytes()).hexdigest() == manifest["output_hashes"][name]
    result = JobResult(out)
    for name, digest in manifest["arrays"].items():
        array = result.array(name)
        assert array is not None and content_hash(array) == digest
    psnr = [v for v in manifest["per_frame"]["psnr"] if v is not None]
    assert manifest["metrics"]["reconstruction"]["psnr"] == pytest.approx(np.mean(psnr), abs=1e-4)


def test_the_documentation_names_every_key() -> None:
    text = (Path(__file__).parents[3] / "docs/formats.md").read_text()
    section = text.partition("## manifest.json")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    assert named == set(SHAPE)


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The output folder of a job."""
    install(monkeypatch)
    run_job(write_clip(tmp_path / "clip.mp4"), tmp_path / "out", tmp_path / "cache", Settings())
    return tmp_path / "out"


def test_an_array_of_another_shape_is_not_read(finished: Path) -> None:
    manifest = json.loads((finished / "manifest.json").read_text())
    with StageCache(finished.parent / "cache").begin("align-" + "0" * 64) as writer:
        writer.put("affine", np.zeros((FRAMES, 2, 0)))
        key = writer.publish().key
    manifest["cache"]["keys"]["align"] = key
    (finished / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="another shape"):
        JobResult(finished).array("align/affine")


@pytest.mark.parametrize("kind", ["foreign", "cache"])
def test_a_strangers_manifest_makes_nobody_remove_anything(finished: Path, kind: str) -> None:
    """A reader of a finished job never discards, whatever the manifest names."""
    tmp_path, out = finished.parent, finished
    root = tmp_path / "store"
    manifest = json.loads((out / "manifest.json").read_text())
    key = "align-" + "0" * 64
    if kind == "cache":
        StageCache(root)
    for name in (key, "documents"):
        (root / name).mkdir(parents=True)
        (root / name / "thesis.txt").write_text("mine")
    for named in (key, "documents", "../store/documents"):
        manifest["cache"] = {"root": str(root), "keys": manifest["cache"]["keys"] | {"align": named}}
        (out / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(UserError, match="cache"):
            JobResult(out).array("align/crops")
    assert all((root / name / "thesis.txt").read_text() == "mine" for name in (key, "documents"))
