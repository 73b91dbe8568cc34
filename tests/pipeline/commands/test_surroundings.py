"""Odd surroundings: closed and full streams, names of any bytes, no home, other locales, no terminal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows import serve
from pipeline.commands import __main__ as cli
from pipeline.errors import UserError, printable, shortened
from pipeline.job.caches import default_cache
from pipeline.watch.ledger import Ledger
from storage import StageCache, folder_hash
from tests.pipeline.fakes import install, write_clip
from tests.storage.test_cache import publish

ESCAPE = "\x1b[2J\x9b31m"
NO_UTF8 = os.fsdecode(b"bad\xff.mp4")


def shell(line: str, *names: str, **environment: str) -> tuple[int, str, str]:
    """Code, output and errors of `invid` in a shell line, in which $@ stands for the names."""
    command = f'"{sys.executable}" -m pipeline.commands'
    done = subprocess.run(
        ["sh", "-c", line.replace("invid", command), "sh", *names],
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=120,
        env=os.environ | environment,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def cache(tmp_path: Path) -> str:
    publish(StageCache(tmp_path / "cache", label=f"clip{ESCAPE}.mp4")).close()
    return str(tmp_path / "cache")


@pytest.mark.parametrize("words", ["--help", "process --help", 'cache ls --cache "$@"', "--version"])
def test_output_that_cannot_be_written_is_one_line(words: str, cache: str) -> None:
    code, _, error = shell(f"invid {words} > /dev/full", cache)
    assert code == 1 and error == "invid: standard output cannot be written (No space left on device)\n"


def test_closed_streams(cache: str) -> None:
    assert shell('invid cache ls --cache "$@" >&-', cache) == (0, "", "")
    assert shell("invid nonsense 2>&-")[0] == 2
    assert shell("invid nonsense 2>/dev/full") == (2, "", "")
    code, _, error = shell('invid process "$@" >&-', "none.mp4")
    assert code == 2 and error.count("\n") == 1 and "no such file" in error


def test_a_reader_that_has_gone_ends_a_command_quietly(cache: str) -> None:
    assert shell('invid cache ls --cache "$@" | true', cache)[1:] == ("", "")


@pytest.fixture
def full() -> Iterator[Any]:
    with Path("/dev/full").open("w") as stream:
        yield stream


def test_a_job_goes_on_where_its_output_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: Any
) -> None:
    install(monkeypatch)
    clip = write_clip(tmp_path / "a.mp4")
    words = [str(clip), "--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache"), "--device", "cpu"]
    monkeypatch.setattr(sys, "stdout", full)
    assert cli.process_video([*words, "--edit", "smile=1"]) == 0
    assert (tmp_path / "out/manifest.json").is_file()


def test_names_of_any_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A whole job on a clip whose name is neither UTF-8 nor harmless; nothing of it reaches the terminal."""
    install(monkeypatch)
    clip = write_clip(tmp_path / "a.mp4").rename(tmp_path / (ESCAPE + NO_UTF8))
    out = tmp_path / (ESCAPE + NO_UTF8 + " out")
    words = [str(clip), "--out", str(out), "--cache", str(tmp_path / "cache"), "--device", "cpu"]
    assert cli.process_video(words) == 0
    assert json.loads((out / "manifest.json").read_text())["input"]["path"] == str(clip)
    assert cli.main(["cache", "ls", "--cache", str(tmp_path / "cache")]) == 0
    clip.unlink()
    assert cli.process_video(words) == 2
    told = capsys.readouterr()
    assert "bad?.mp4" in told.out and "bad?.mp4" in told.err
    assert printable(told.out + told.err) == told.out + told.err


def test_the_same_in_a_plain_locale() -> None:
    names = ("none\xe9.mp4", os.fsdecode(b"none\xff.mp4"))
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    for name in names:
        code, _, error = shell('invid process "$@" --quiet', name, **plain)
        assert code == 2 and error.count("\n") == 1 and "no such file" in error


def test_text_for_a_terminal() -> None:
    assert printable("a\x1b[31m\x07\x9b\u202e\ud800b\tc\n") == "a?[31m????b\tc\n"
    assert printable("Zoë 日本\u3000\xa0") == "Zoë 日本\u3000\xa0"
    assert shortened("\x1b" * 500) == "?" * 80 + "..."


def test_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(UserError, match="no home folder for the cache; name a folder with --cache"):
        default_cache()


def test_names_that_are_not_utf8_in_folders_and_notes(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / NO_UTF8).write_bytes(b"x")
    assert folder_hash(tmp_path / "masks") != folder_hash(tmp_path)
    ledger = Ledger(tmp_path / "out")
    record = ledger.fail(ledger.new("c", [], Path(NO_UTF8)), "it is bad")
    assert "bad?.mp4" in ledger.note(record).read_text(encoding="utf-8")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_serve_ends_with_its_terminal(number: signal.Signals, tmp_path: Path) -> None:
    class Parts:
        """A service that is told to end as soon as it has started."""

        url = "http://127.0.0.1:1/api"
        home, closed = tmp_path, False

        def __init__(self) -> None:
            self.stopping = threading.Event()

        def start(self, workers: Any) -> None:
            os.kill(os.getpid(), number)

        def watch(self) -> None:
            assert self.stopping.wait(10)

        def stop(self) -> None:
            self.stopping.set()

        def close(self) -> None:
            self.closed = True

    kept = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    parts = Parts()
    try:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        assert serve.serve(parts, 0) == 0 and parts.closed  # type: ignore[arg-type]
    finally:
        for one, handler in kept.items():
            signal.signal(one, handler)
