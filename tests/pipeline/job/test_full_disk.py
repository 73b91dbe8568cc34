"""A disk that fills up in the middle of a job: one clear line, nothing broken, and on with more space."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def main(clip: str, disk: str, *kilobytes: str) -> None:
    """The command on disks of these sizes, with stand-ins for the models; twice more when there is space."""
    from pipeline.commands.__main__ import main as command
    from tests.pipeline.fakes import install

    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        for size in kilobytes:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "none", disk], check=True)
            folders = ["--out", f"{disk}/out", "--cache", f"{disk}/cache"]
            found = []
            for _ in range(3):
                with contextlib.redirect_stderr(io.StringIO()) as said:
                    code = command(["process", clip, *folders, "--quiet", "--edit", "smile=1"])
                left = [str(p) for p in Path(disk).rglob(".tmp-*")]
                found.append([code, said.getvalue(), left, (Path(disk) / "out/edited.mp4").exists()])
                subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
            print(json.dumps(found))


def may_mount() -> bool:
    """Whether this user may have a small disk of his own."""
    if shutil.which("unshare") is None:
        return False
    tried = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0


def test_a_full_disk_in_the_middle_of_a_job(tmp_path: Path) -> None:
    if not may_mount():
        pytest.skip("this user may not mount a small disk")
    from tests.pipeline.fakes import write_clip

    clip, disk = write_clip(tmp_path / "clip.mp4"), tmp_path / "disk"
    disk.mkdir()
    sizes = [str(size) for size in range(40, 400, 40)]
    command = [
        "unshare",
        "-rm",
        sys.executable,
        "-m",
        "tests.pipeline.job.test_full_disk",
        str(clip),
        str(disk),
    ]
    done = subprocess.run([*command, *sizes], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[[")]
    assert len(lines) == len(sizes)
    for size, (full, space, again) in zip(sizes, lines, strict=True):
        assert full[0] == 2 and full[2:] == [[], False], (size, full)
        (said,) = full[1].strip().splitlines()
        assert said.startswith("invid: ") and "full" in said, said
        assert space[0] == 0 and "damaged" not in space[1] and space[3], (size, space)
        assert again[0] == 0, (size, again)


if __name__ == "__main__":
    main(*sys.argv[1:])
