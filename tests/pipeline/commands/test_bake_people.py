"""`invid bake-people`."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.commands.bake_people import run
from pipeline.errors import UserError


@pytest.mark.parametrize("named", [True, False])
def test_it_never_replaces_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool) -> None:
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "people.safetensors"
    mine.write_bytes(b"mine")
    with pytest.raises(UserError, match="exists"):
        run(out=mine if named else None)
    assert mine.read_bytes() == b"mine"
