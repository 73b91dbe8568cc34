"""A job that is killed at any moment and started again gives what one that was left alone gives."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "samples" / "mask.mp4"
KILLS = 30


def start(tmp_path: Path, name: str) -> subprocess.Popen[str]:
    options = ["--max-frames", "2", "--steps", "60", "--finetune-steps", "20", "--edit", "smile=1", "--quiet"]
    folders = ["--out", str(tmp_path / name / "out"), "--cache", str(tmp_path / name / "cache")]
    command = [sys.executable, "-m", "pipeline.commands", "process", str(SAMPLE), *options, *folders]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def manifest_of(tmp_path: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / name / "out" / "manifest.json").read_text())
    return found


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_killed_thirty_times_it_gives_the_same_bytes(tmp_path: Path) -> None:
    whole = start(tmp_path, "whole")
    began = time.monotonic()
    assert whole.wait() == 0, whole.communicate()[1]
    takes = time.monotonic() - began
    rng = random.Random(7)
    kills = 0
    while kills < KILLS:
        process = start(tmp_path, "cut")
        try:
            process.wait(rng.uniform(0.2, 0.8) * takes)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            continue
        finally:
            if process.stderr is not None:
                process.stderr.close()
        assert process.returncode == 0
        # Done before its moment came: the next life begins with an empty result folder and half the cache.
        for path in sorted((tmp_path / "cut/cache").glob("*-*"))[kills % 2 :: 2]:
            shutil.rmtree(path)
        shutil.rmtree(tmp_path / "cut/out")
    last = start(tmp_path, "cut")
    assert last.wait() == 0, last.communicate()[1]
    one, other = manifest_of(tmp_path, "whole"), manifest_of(tmp_path, "cut")
    assert one["arrays"] == other["arrays"]
    videos = {name for name in one["output_hashes"] if name != "report"}
    assert {n: one["output_hashes"][n] for n in videos} == {n: other["output_hashes"][n] for n in videos}
    assert not list((tmp_path / "cut/cache").glob(".tmp-*")), "nothing of the dead is left"
