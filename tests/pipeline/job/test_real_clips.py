"""Real clips through the console command: size, times and sound are kept, frames without a face untouched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from inverters.generators.load import BUNDLED
from pipeline.clip import Status
from pipeline.request.settings import DecodeSettings
from pipeline.stages.decode import decode

CLIPS = Path(__file__).resolve().parents[3] / "../shared/data/clips"
NAMES = sorted(p.name for p in CLIPS.iterdir() if p.suffix in (".mp4", ".gif")) if CLIPS.is_dir() else []

pytestmark = [
    pytest.mark.slow,
    pytest.mark.weights,
    pytest.mark.skipif(not NAMES, reason="the clips of ../shared/data are not here"),
    pytest.mark.skipif(not BUNDLED.is_file(), reason="the bundled generator is not here"),
]


def sound_of(path: Path) -> list[bytes]:
    """The packets of the first sound stream."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return []
        return [bytes(packet) for packet in container.demux(container.streams.audio[0]) if packet.size]


@pytest.mark.parametrize("name", NAMES)
def test_a_real_clip(name: str, tmp_path: Path) -> None:
    clip, out = CLIPS / name, tmp_path / "out"
    words = ["--steps", "4", "--finetune-steps", "2", "--edit", "smile=1.5", "--codec", "ffv1", "--json"]
    done = subprocess.run(
        [str(Path(sys.executable).with_name("process-video")), str(clip), "--out", str(out), *words],
        capture_output=True,
        text=True,
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    manifest = json.loads(done.stdout)
    assert 0 < manifest["metrics"]["reconstruction"]["psnr"] < 60
    source = decode(clip, DecodeSettings(), tmp_path)
    edited = decode(out / manifest["outputs"]["edited"], DecodeSettings(), tmp_path)
    assert (edited.width, edited.height, len(edited)) == (source.width, source.height, len(source))
    np.testing.assert_allclose(edited.times, source.times, atol=1e-3)
    assert edited.duration == pytest.approx(source.duration, abs=2e-3)
    assert sound_of(out / manifest["outputs"]["edited"]) == sound_of(clip)
    changed = 0
    for status, before, after in zip(
        manifest["per_frame"]["status"], source.frames(), edited.frames(), strict=True
    ):
        if status == Status.NO_FACE:
            np.testing.assert_array_equal(after, before)
        else:
            changed += int((after != before).any())
    edited_frames = manifest["frames"]["edited"]
    hidden = 2 if "mask" in name else 0  # frames in which a mask covers all that a smile moves
    assert edited_frames - hidden <= changed <= edited_frames
