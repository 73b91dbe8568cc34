"""The watcher's records: notes on failures have names that a folder can hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.watch.ledger import Ledger


@pytest.mark.parametrize("part", ["x" * 250, "é" * 120, "\udcff" * 240])
def test_clips_deep_in_folders_have_notes_of_their_own(tmp_path: Path, part: str) -> None:
    ledger = Ledger(tmp_path)
    records = [ledger.new(str(n), [], Path(part) / part / f"{n}.mp4") for n in range(2)]
    failed = [ledger.fail(record, "it is cut off") for record in records]
    notes = [ledger.note(record) for record in failed]
    assert len(set(notes)) == 2 and all("it is cut off" in note.read_text() for note in notes)
    assert not any(ledger.asked_again(record) for record in failed)
    notes[0].unlink()
    assert ledger.asked_again(failed[0]) and not ledger.asked_again(failed[1])


def test_a_short_name_stays_readable(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    assert ledger.note(ledger.new("c", [], Path("a/b.mp4"))).name == "a__b.txt"
