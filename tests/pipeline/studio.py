"""A watched folder, its results, and a stand-in for the command that does the work."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pipeline.watch import local_jobs
from pipeline.watch.watcher import Watcher
from tests.pipeline.fakes import write_clip

WORKER = """
import hashlib, json, os, sys, time
from pathlib import Path
words = sys.argv[sys.argv.index("process") + 1:]
clip, out = Path(words[0]), Path(words[words.index("--out") + 1])
data = clip.read_bytes()
log = Path(os.environ["WORKED"])
with log.open("a") as file:
    file.write(json.dumps([str(clip), words]) + "\\n")
time.sleep(float(os.environ.get("TAKES", "0")))
if "--seed=13" in words:
    print("invid: the seed is unlucky; choose another", file=sys.stderr)
    sys.exit(2)
if "--seed=9" in words:
    os.kill(os.getpid(), 9)
out.mkdir(parents=True, exist_ok=True)
content = hashlib.sha256(data).hexdigest()
(out / "manifest.json").write_text(json.dumps({"input": {"content_hash": content}}))
"""


class Studio:
    """A folder, its results, a stand-in for the command that only notes what it was asked to do."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.out, self.log = tmp_path / "in", tmp_path / "out", tmp_path / "worked"
        self.root.mkdir()
        self.clip = write_clip(tmp_path / "clip.mp4")
        self.said: list[str] = []
        worker = tmp_path / "worker.py"
        worker.write_text(WORKER)
        monkeypatch.setenv("WORKED", str(self.log))
        monkeypatch.setattr(local_jobs, "COMMAND", [sys.executable, str(worker)])

    def put(self, name: str, tail: bytes = b"") -> Path:
        """A clip whose content differs by `tail`, which readers ignore; its times lie in the past."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.clip.read_bytes() + (b"" if not tail else self.box(tail)))
        os.utime(path, (time.time() - 100, time.time() - 100))
        return path

    @staticmethod
    def box(tail: bytes) -> bytes:
        return (8 + len(tail)).to_bytes(4, "big") + b"free" + tail

    def watcher(self, options: Sequence[str] = (), quiet: float = 0.3, **how: object) -> Watcher:
        return Watcher(self.root, self.out, options, quiet, say=self.said.append, **how)  # type: ignore[arg-type]

    def once(self, options: Sequence[str] = (), quiet: float = 0.3) -> None:
        self.watcher(options, quiet).run_once()

    @property
    def worked(self) -> list[str]:
        """Names of the clips that were worked on, in order."""
        import json

        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [os.path.relpath(json.loads(line)[0], self.root) for line in lines]


def wait_until(what: Callable[[], bool], seconds: float = 60.0) -> None:
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < seconds
        time.sleep(0.05)
