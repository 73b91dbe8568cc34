"""`invid serve`: what it hands to its watchers and to the cache's housekeeping, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows import serve
from pipeline.commands import __main__ as cli
from pipeline.watch import watcher


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> list[serve.Service]:
    """Services that would have been started."""
    found: list[serve.Service] = []
    monkeypatch.setattr(serve, "serve", lambda service, workers: found.append(service) or 0)
    return found


def test_a_jobs_options_go_to_the_watchers(
    services: list[serve.Service], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    class Watching:
        def __init__(self, *given: Any) -> None:
            names = ("root", "out", "options", "quiet", "jobs", "say", "deployment", "free")
            asked.update(zip(names, given, strict=True))

        def run(self, interval: float) -> None:
            asked["interval"] = interval

    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    words = ["--edit", "smile=1.5", "--preset=fast", "--every", "7", "--free", "5GB", "--keep", "9GB"]
    watches = [word for folder in folders for word in ("--watch", str(folder), str(folder / "out"))]
    assert cli.main(["serve", *watches, *words]) == 0
    (service,) = services
    assert list(service.collect) == ["--keep", "9GB"] and len(service.watches) == 2
    assert service.watched == [folder / "out" for folder in folders]
    monkeypatch.setattr(watcher, "Watcher", Watching)
    assert cli.main(["watch", *service.watches[1]]) == 0
    assert asked["root"] == folders[1] and asked["out"] == folders[1] / "out"
    assert set(asked["options"]) == {"--edit=smile=1.5", "--preset=fast"}
    assert asked["deployment"].name == "process-video/default"
    assert asked["interval"] == 7.0 and asked["free"] == 5 * 10**9


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--edit", "smile=1"], "name a folder to watch"),
        (["--watch", "nowhere", "out"], "no such folder"),
        (["--keep", "much"], "is no size"),
        (["--stop"], "no service runs in"),
        (["--json"], "--json is for --status"),
    ],
)
def test_what_it_cannot_do_is_said_in_one_line(
    services: list[serve.Service],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    assert cli.main(["serve", "--home", str(tmp_path / "home"), *words]) == 2
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1 and not services


def test_an_address_beyond_this_machine_needs_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING"):
        monkeypatch.delenv(name, raising=False)
    assert cli.main(["serve", "--host", "0.0.0.0", "--home", str(tmp_path)]) == 2
    assert "set PREFECT_API_AUTH_STRING=user:password" in capsys.readouterr().err
