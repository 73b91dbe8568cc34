"""A clip and stand-ins of the heavy stages, for tests of whole jobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipeline.fakes import Fakes, install, write_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4")


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Fakes:
    return install(monkeypatch)
