"""What became of each clip: a small file each, beside the results, so that a restart forgets nothing."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from storage import canonical_json
from storage.locks import FileLock

DONE, FAILED, SUBMITTED = "done", "failed", "submitted"
LOST = "lost"
"""Of a run that the server it was submitted to knows nothing of: it is submitted again."""


@dataclass(frozen=True)
class Record:
    """A clip by its content and options, and where its results are."""

    content: str
    options: list[str]
    name: str  # relative to the folder that is watched, as it was first seen
    folder: str  # of its results, relative to the output folder
    state: str = ""
    reason: str = ""
    tries: int = 0
    when: float = 0.0
    run: str = ""  # of Prefect
    others: list[str] = field(default_factory=list)  # further names of the same

    @property
    def is_refusal(self) -> bool:
        """A note on a file that was never taken: it has no results, and no folder for them."""
        return self.content.startswith("refused ")

    @property
    def identity(self) -> str:
        """The same for the same bytes and options, whatever the name."""
        return identity_of(self.content, self.options)


def identity_of(content: str, options: Sequence[str]) -> str:
    """A name for bytes and options."""
    text = canonical_json([content, sorted(options)])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class Ledger:
    """Records below OUT/.invid, and the notes on failures in OUT/failed for people to read."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._records, self._locks = out / ".invid" / "clips", out / ".invid" / "locks"
        for folder in (self._records, self._locks):
            folder.mkdir(parents=True, exist_ok=True)
        self._owners = {record.folder: record.identity for record in self.all() if not record.is_refusal}

    def find(self, identity: str) -> Record | None:
        """The record of a clip; None where there is none, or it cannot be read."""
        try:
            return Record(**json.loads((self._records / f"{identity}.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def all(self) -> list[Record]:
        """Every record, in order of time."""
        found = (self.find(path.stem) for path in self._records.glob("*.json"))
        return sorted((r for r in found if r is not None), key=lambda r: r.when)

    def counts(self) -> dict[str, int]:
        """How many clips are in each state; those that wait are "waiting"."""
        return dict(Counter(record.state or "waiting" for record in self.all()))

    def write(self, record: Record) -> Record:
        """Keep a record: whole or not at all."""
        record = replace(record, when=time.time())
        side = self._records / f".{uuid.uuid4().hex[:12]}"
        with side.open("w") as file:
            json.dump(asdict(record), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        side.replace(self._records / f"{record.identity}.json")
        if not record.is_refusal:
            self._owners.setdefault(record.folder, record.identity)
        return record

    def lock(self, identity: str) -> FileLock:
        """Held by who works on a clip. Its descriptor may be handed to the process that does the work."""
        return FileLock(self._locks / identity)

    def new(self, content: str, options: list[str], name: Path) -> Record:
        """A record for a clip not seen before, with a folder of results that no other clip has."""
        folder, identity = name.with_suffix(""), identity_of(content, options)
        if self._owners.get(str(folder), identity) != identity or folder.parts[0] == "failed":
            folder = folder.with_name(f"{folder.name}-{identity[:8]}")
        return Record(content, options, str(name), str(folder))

    # Failures

    def note(self, record: Record) -> Path:
        """Where the note on a failure lies."""
        return self.out / "failed" / f"{record.folder.replace(os.sep, '__')}.txt"

    def fail(self, record: Record, reason: str) -> Record:
        """Keep a failure, with a note that says why and how to ask again."""
        record = self.write(replace(record, state=FAILED, reason=reason))
        note = self.note(record)
        note.parent.mkdir(parents=True, exist_ok=True)
        tried = (
            f"Tried {record.tries} times, last on {time.strftime('%Y-%m-%d %H:%M')}.\n"
            if record.tries
            else ""
        )
        again = "Delete this file to have it tried again; a clip that was replaced is tried by itself.\n"
        note.write_text(f"{record.name}\n\n{reason}\n\n{tried}{again}")
        return record

    def asked_again(self, record: Record) -> bool:
        """Whether somebody has deleted the note on a failure."""
        return record.state == FAILED and not self.note(record).exists()

    def done(self, record: Record, run: str = "") -> Record:
        """Keep a success; an earlier note goes."""
        with contextlib.suppress(OSError):
            self.note(record).unlink()
        return self.write(replace(record, state=DONE, reason="", run=run))
