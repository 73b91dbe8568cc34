"""The check whether an output folder is up to date is quick, and sees every change."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.job.finished import already_done, request_digest
from pipeline.job.walker import run_job
from pipeline.request.edits import Edit
from pipeline.request.settings import EditSettings, Settings
from tests.pipeline.fakes import install, write_clip

SMILE = Settings(edit=EditSettings(edits=(Edit("smile", 1.5),)))


def test_it_loads_nothing_heavy() -> None:
    code = (
        "import sys, pipeline.job.finished; "
        "found = {'torch', 'prefect', 'scipy', 'mediapipe', 'zarr', 'lpips'} & set(sys.modules); "
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_same_request_is_done_and_another_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    clip, out = write_clip(tmp_path / "clip.mp4"), tmp_path / "out"
    assert already_done(clip, out, SMILE, "draft") is None
    manifest = run_job(clip, out, tmp_path / "cache", SMILE)
    assert already_done(clip, out, SMILE, "draft") == manifest
    assert already_done(clip, out, SMILE, None) == manifest
    for other in (
        replace(SMILE, edit=replace(SMILE.edit, ease=0.3)),
        replace(SMILE, edit=replace(SMILE.edit, remove_occluder=True)),
        replace(SMILE, invert=replace(SMILE.invert, seed=1)),
    ):
        assert already_done(clip, out, other, "draft") is None
    assert already_done(clip, out, replace(SMILE, device="cpu"), "draft") == manifest
    assert already_done(clip, out, replace(SMILE, strict=True), "draft") is None
    strict = run_job(clip, out, tmp_path / "cache", replace(SMILE, strict=True))
    for same in (SMILE, replace(SMILE, strict=True)):
        assert already_done(clip, out, same, "draft") == strict
    (out / "edited.mp4").write_bytes(b"changed")
    assert already_done(clip, out, SMILE, "draft") is None


def test_the_digest_follows_both_files_of_an_encoder(tmp_path: Path) -> None:
    clip, first, second = (tmp_path / name for name in ("clip.mp4", "encoder_FFHQ.pt", "afa_FFHQ.pt"))
    for path in (clip, first, second):
        path.write_bytes(b"first")
    asked = replace(SMILE, invert=replace(SMILE.invert, method="goae", encoder=str(first)))
    digests = [request_digest(clip, asked)]
    for path in (first, second):
        path.write_bytes(b"second")
        digests.append(request_digest(clip, asked))
    assert len(set(digests)) == 3


def test_the_digest_follows_the_bytes_of_every_file_that_is_named(tmp_path: Path) -> None:
    clip, labels, masks = tmp_path / "clip.mp4", tmp_path / "dataset.json", tmp_path / "masks"
    masks.mkdir()
    clip.write_bytes(b"clip")
    labels.write_bytes(b"labels")
    (masks / "0.png").write_bytes(b"mask")
    asked = replace(
        SMILE,
        camera=replace(SMILE.camera, labels=str(labels)),
        invert=replace(SMILE.invert, occluder_masks=str(masks)),
    )
    seen = {request_digest(clip, SMILE), request_digest(clip, asked)}
    for file in (clip, labels, masks / "0.png"):
        file.write_bytes(file.read_bytes() + b"!")
        seen.add(request_digest(clip, asked))
    assert len(seen) == 5
