"""`invid bench fidelity --quick`, as a user types it: clips made, every method run, scored, drawn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from inverters.methods.table import ENCODERS
from pipeline.fidelity.methods import BENCH_METHODS


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_quick_look(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "invid"), "bench", "fidelity", "--quick", "--json"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    rows = {row["method"]: row for row in found["rows"]}
    assert list(rows) == [method.name for method in BENCH_METHODS]
    assert all(row["clips"] == 2 and row["memory_mb"] > 100 for row in rows.values())
    for name in ("psnr_reconstruction", "psnr_true_edit", "psnr_true_view", "edit_sign_share"):
        assert all(row[name] is not None for row in rows.values()), name
    unaided = {row["clip"]: row["psnr_removal"] for row in found["clips"] if row["method"] == "w"}
    for row in found["clips"]:  # what a second field or a soft mask tells can be taken off
        removes = row["method"].startswith("in-n-out") or row["method"] in ENCODERS
        assert (row["mask_iou"] is not None) == removes
        assert removes == (row["psnr_removal"] > unaided[row["clip"]])
        if row["occluder"] == "mask":  # of sunglasses the codes take most: the generator knows glasses
            assert removes == (row["psnr_removal"] > row["psnr_removal_of_input"] + 3)
    sheets = sorted((tmp_path / "out" / "sheets").glob("*.png"))
    assert len(sheets) == 2
    for path in sheets:
        with Image.open(path) as sheet:
            assert sheet.height > 150 * (1 + len(BENCH_METHODS))
