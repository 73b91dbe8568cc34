"""The password in a shared cache's URL stays out of all that a job writes, also where the store fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.commands import __main__ as cli
from pipeline.errors import UserError
from pipeline.request.options import parse
from pipeline.request.submission import portable
from tests.pipeline.fakes import install, write_clip

URL = "memory://me:hunter2@box/cache"


@pytest.mark.parametrize("failing", [False, True])
def test_a_jobs_results_and_words_do_not_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], failing: bool
) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    install(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    if failing:

        def refuse(*words: object, **how: object) -> bytes:
            raise OSError(f"{URL} is down")

        for method in ("cat_file", "pipe_file", "ls"):
            monkeypatch.setattr(MemoryFileSystem, method, refuse)
    clip = write_clip(tmp_path / "clip.mp4")
    words = ["process", str(clip), "--out", str(tmp_path / "out"), "--cache", URL, "--edit", "smile=1"]
    assert cli.main(words) == 0
    told = capsys.readouterr()
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {"manifest.json", "report.html"} <= {path.name for path in written}
    assert not any(b"hunter2" in path.read_bytes() for path in written)
    assert "hunter2" not in told.out + told.err
    assert ("me:***@box" in told.out) == failing


def test_it_is_not_handed_on() -> None:
    with pytest.raises(UserError, match="leave the password out") as told:
        portable(parse(["clip.mp4", "--cache", URL]))
    assert "hunter2" not in str(told.value)
