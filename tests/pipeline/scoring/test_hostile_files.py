"""Manifests, truths and camera labels that are damaged or made up: one line, no hang, exit code 2."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.commands import __main__ as cli
from pipeline.errors import UserError
from pipeline.faces.camera_labels import read_dataset_json
from pipeline.samples.truth import load_truth
from tests.pipeline.known_sample import flat, write_known_sample, write_result

BRACKETS = "[" * 100_000
NO_TEXT = [BRACKETS, '{"a":' * 50_000, "9" * 5000, "\xff"]


def pipe_at(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.fixture
def result(tmp_path: Path) -> Path:
    return write_result(tmp_path / "out", write_known_sample(tmp_path), {"removal": flat(120, 110)})


def told(capsys: pytest.CaptureFixture[str], result: Path) -> str:
    """What `invid score` says of a manifest, which must be one line."""
    assert cli.main(["score", str(result), "--truth", str(result.parent / "clip.mp4")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "unexpected" not in error, error
    return error


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m["cache"].pop("keys"), "cache.keys is missing"),
        (lambda m: m["cache"].update(keys=[]), "cache.keys is missing or of another kind"),
        (lambda m: m["cache"]["keys"].update(align=3), "cache.keys.align"),
        (lambda m: m["cache"]["keys"].update(align="../../etc"), "no longer holds 'align"),
        (lambda m: m["cache"]["keys"].clear(), "no longer holds"),
        (lambda m: m["cache"].pop("root"), "cache.root"),
        (lambda m: m.update(cache=3), "cache is missing"),
        (lambda m: m.update(input={}), "input.path"),
        (lambda m: m["input"].update(width=True), "input.width"),
        (lambda m: m["frames"].update(total="4"), "frames.total"),
        (lambda m: m["settings"]["edit"].update(edits=[{"name": "smile"}]), "settings.edit.edits.0.strength"),
        (lambda m: m["settings"]["edit"].update(view={"yaw": 1}), "settings.edit.view"),
        (lambda m: m["metrics"].update(reconstruction=[]), "metrics.reconstruction"),
        (lambda m: m["per_frame"].update(time=["soon"]), "per_frame.time.0"),
        (lambda m: m.update(outputs=None), "outputs"),
        (lambda m: m["arrays"].update({"align/affine": 1}), "arrays.align/affine"),
    ],
)
def test_a_manifest_of_another_form(
    result: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[dict[str, Any]], object],
    says: str,
) -> None:
    manifest = json.loads((result / "manifest.json").read_text())
    change(manifest)
    (result / "manifest.json").write_text(json.dumps(manifest))
    assert says in told(capsys, result)


@pytest.mark.parametrize("text", NO_TEXT)
def test_a_manifest_that_is_no_json(result: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    (result / "manifest.json").write_bytes(text.encode("latin1"))
    told(capsys, result)


def test_a_manifest_that_is_a_pipe(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipe_at(result / "manifest.json")
    assert "not a regular file" in told(capsys, result)


@pytest.mark.parametrize("text", [*NO_TEXT, '{"labels": [["a", [1e999]]]}', '{"labels": [[["a"], 3]]}'])
def test_camera_labels_that_are_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "dataset.json"
    path.write_bytes(text.encode("latin1"))
    with pytest.raises(UserError) as caught:
        read_dataset_json(path, 4)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_a_label_with_a_number_beyond_floats(tmp_path: Path) -> None:
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"labels": [["a", [10**400] * 25]]}))
    with pytest.raises(UserError, match="25 numbers"):
        read_dataset_json(path, 1)
    pipe_at(path)
    with pytest.raises(UserError, match="not a regular file"):
        read_dataset_json(path, 1)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("cam2world", 0, 0, 0), float("nan")),
        (("crop", "affine", 0, 1, 2), float("inf")),
        (("crop", "affine", 0), [[0.0] * 3] * 2),
        (("crop", "size"), 1 << 40),
        (("size", 0), 0),
        (("size", 1), 1 << 40),
        (("clean",), "../" + "x" * 9000),
        (("format",), "x" * 9000),
    ],
)
def test_a_truth_whose_values_make_no_sense(tmp_path: Path, place: tuple[Any, ...], value: object) -> None:
    path = write_known_sample(tmp_path).with_suffix(".truth") / "truth.json"
    found = inner = json.loads(path.read_text())
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    path.write_text(json.dumps(found))
    with pytest.raises(UserError) as caught:
        load_truth(path)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "text", [*NO_TEXT, '{"format": "invid-sample-truth", "version": 1, "frames": 1e999}']
)
def test_a_truth_that_is_none(tmp_path: Path, text: str) -> None:
    path = write_known_sample(tmp_path).with_suffix(".truth") / "truth.json"
    path.write_bytes(text.encode("latin1"))
    with pytest.raises(UserError, match="is not a sample's truth") as caught:
        load_truth(path)
    assert len(str(caught.value)) < 400
