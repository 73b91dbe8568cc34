"""A snapshot of the exact size of `ffhqrebalanced512-128.pkl`, with random weights, through every stage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from inverters.generators.config import GeneratorConfig
from inverters.generators.eg3d import Generator
from inverters.rendering.cameras import default_intrinsics, look_at
from tests.inverters.generators.snapshot import write_snapshot

MASK = Path(__file__).resolve().parents[3] / "samples" / "mask.mp4"

pytestmark = pytest.mark.slow


def test_one_frame_of_full_size_passes_every_stage(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        write_snapshot(tmp_path / "full.pkl", Generator(GeneratorConfig()))
    label = torch.cat([look_at([0.1], [0.0]).reshape(-1), default_intrinsics(1).reshape(-1)]).tolist()
    labels = tmp_path / "dataset.json"
    labels.write_text(json.dumps({"labels": [["0.png", label]]}))
    command = [str(Path(sys.executable).with_name("process-video")), str(MASK), "--json"]
    command += ["--generator", str(tmp_path / "full.pkl"), "--cameras", str(labels), "--max-frames", "1"]
    command += ["--steps", "2", "--finetune-steps", "1", "--remove-occluder", "--view", "yaw=0.2", "--crops"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "2"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    manifest = json.loads(done.stdout)
    names = [stage["name"] for stage in manifest["stages"]]
    assert names[:6] == ["decode", "track", "align", "camera", "invert", "finetune"]
    assert names[6:] == ["edit", "composite", "encode", "report"]
    assert manifest["frames"]["total"] == manifest["frames"]["edited"] == 1
    assert {"edited", "removal", "view", "crops"} <= set(manifest["outputs"])
    assert manifest["metrics"]["reconstruction"]["psnr"] > 0
