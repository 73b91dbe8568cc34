"""A job that runs out of memory goes on with less, or says how much it needed."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from inverters import memory
from pipeline.commands.__main__ import main
from pipeline.job.oom_retry import OomRetry
from pipeline.job.walker import run_job
from pipeline.request.settings import Settings
from pipeline.stages import invert
from tests.pipeline.fakes import Fakes, write_clip
from tests.pipeline.job.test_walker import Notes

ROOT = Path(__file__).parents[3]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4")


def starve(monkeypatch: pytest.MonkeyPatch, most: int) -> list[int]:
    """Let the inversion need memory for as many frames at a time as `batch` gives of 8; `most` are there."""
    fitting, tried = invert.invert, []

    def hungry(*args: object, **more: object) -> object:
        tried.append(memory.batch(8))
        if memory.batch(8) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.00 GiB. GPU 0 has ...")
        return fitting(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(invert, "invert", hungry)
    return tried


def test_batches_shrink_until_they_fit(
    clip: Path, fakes: Fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried, notes = starve(monkeypatch, 2), Notes()
    manifest = run_job(clip, tmp_path / "out", tmp_path / "cache", Settings(), notes)
    assert tried == [8, 2, 2], "of the encoder, and of the fit that begins at it"
    (told,) = [text for text in notes.texts if "memory" in text]
    assert "GiB are needed" in told and "a quarter" in told
    assert told in manifest["notes"] and fakes.calls["track"] == 1
    again = run_job(clip, tmp_path / "other", tmp_path / "cache", Settings())
    assert next(stage for stage in again["stages"] if stage["name"] == "invert")["cached"]


def test_what_does_not_fit_at_all_names_the_figure_and_leaves_nothing(
    clip: Path,
    fakes: Fakes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tried = starve(monkeypatch, 0)
    monkeypatch.chdir(tmp_path)
    words = ["process", str(clip), "--out", "out", "--cache", "cache", "--quiet"]
    assert main(words) == 1
    assert tried == [8, 2, 1]
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("invid: ") and "GiB are needed" in last and "--preset draft" in last
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
    assert not list((tmp_path / "cache").glob(".tmp-*"))


def test_other_errors_are_left_alone() -> None:
    def broken() -> None:
        raise RuntimeError("sizes do not agree")

    with pytest.raises(RuntimeError, match="sizes"):
        OomRetry("cpu", lambda text: None).runs(broken)


def test_real_shortages_are_met(tmp_path: Path) -> None:
    """In a process that may have so much and no more: torch's and numpy's own errors."""
    code = f"""
    import resource, sys
    sys.path.insert(0, {str(ROOT)!r})
    import numpy as np, torch
    from inverters.memory import batch
    from pipeline.errors import OutOfMemoryError
    from pipeline.job.oom_retry import OomRetry
    torch.set_num_threads(1)
    pages = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (pages + 3 * 2**30,) * 2)
    gigabytes = lambda n: torch.zeros(n, 2**30, dtype=torch.uint8)
    for make in (gigabytes, lambda n: np.zeros((n, 2**30), np.uint8)):
        said, made = [], []
        retry = OomRetry("cpu", said.append)
        while not retry.runs(lambda: made.append(make(batch(8)).shape[0])):
            pass
        print(made, said)
    try:
        retry = OomRetry("cpu", print)
        while not retry.runs(lambda: torch.zeros(9 * 2**30, dtype=torch.uint8)):
            pass
    except OutOfMemoryError as error:
        print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("[2] ") and "GiB are needed" in lines[0]
    assert lines[1].startswith("[2] ") and "GiB are needed" in lines[1]
    assert "at least 9." in lines[-1] and "GiB are needed" in lines[-1]
