"""Records of the clips that were taken, one JSON file each below OUT/.invid, and notes on failures."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from inverters.generators.small_files import read_json
from pipeline.errors import printable
from storage import canonical_json
from storage.files import replacing
from storage.locks import FileLock

_MOST_NAME = 200
"""Bytes of the name of a note."""
DONE, FAILED, SUBMITTED = "done", "failed", "submitted"
LOST = "lost"
"""State of a run that the server does not know; the clip is submitted again."""


@dataclass(frozen=True)
class Record:
    """A clip, identified by content and options; its state and the folder of its results."""

    content: str
    options: list[str]
    name: str  # path below the watched folder when first seen
    folder: str  # of the results, relative to the output folder
    state: str = ""
    reason: str = ""
    tries: int = 0
    when: float = 0.0
    run: str = ""  # name of the Prefect run
    others: list[str] = field(default_factory=list)  # other names of the same content

    @property
    def is_whole(self) -> bool:
        """Whether every field has its type; a record is JSON from a file."""
        texts = (self.content, self.name, self.folder, self.state, self.reason, self.run)
        lists = isinstance(self.options, list) and isinstance(self.others, list)
        return (
            lists
            and all(isinstance(text, str) for text in (*texts, *self.options, *self.others))
            and isinstance(self.tries, int)
            and isinstance(self.when, int | float)
        )

    @property
    def is_refusal(self) -> bool:
        """True for a file that was never taken, and has no folder of results."""
        return self.content.startswith("refused ")

    @property
    def identity(self) -> str:
        """Hash of content and options, independent of the name."""
        return identity_of(self.content, self.options)


def identity_of(content: str, options: Sequence[str]) -> str:
    """Hash of content and options, 32 hex digits."""
    text = canonical_json([content, sorted(options)])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class Ledger:
    """Records below OUT/.invid, and notes on failures for people in OUT/failed."""

    def __init__(self, out: Path) -> None:
        """Open the records below the output folder, which is created where missing."""
        self.out = out
        self._records, self._locks = out / ".invid" / "clips", out / ".invid" / "locks"
        for folder in (self._records, self._locks):
            folder.mkdir(parents=True, exist_ok=True)
        self._owners = {record.folder: record.identity for record in self.all() if not record.is_refusal}

    def find(self, identity: str) -> Record | None:
        """The record of this identity; None where there is none or it cannot be read."""
        try:
            record = Record(**read_json(self._records / f"{identity}.json"))
            return record if record.is_whole else None
        except (OSError, ValueError, TypeError):
            return None

    def all(self) -> list[Record]:
        """All records, in order of time."""
        found = (self.find(path.stem) for path in self._records.glob("*.json"))
        return sorted((r for r in found if r is not None), key=lambda r: r.when)

    def counts(self) -> dict[str, int]:
        """Number of clips by state; "waiting" for those not taken yet."""
        return dict(Counter(record.state or "waiting" for record in self.all()))

    def write(self, record: Record) -> Record:
        """Store a record with the present time; returns it."""
        record = replace(record, when=time.time())
        with replacing(self._records / f"{record.identity}.json") as side, side.open("w") as file:
            json.dump(asdict(record), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        if not record.is_refusal:
            self._owners.setdefault(record.folder, record.identity)
        return record

    def lock(self, identity: str) -> FileLock:
        """Lock for the process that works on a clip; its descriptor may be inherited by a child."""
        return FileLock(self._locks / identity)

    def new(self, content: str, options: list[str], name: Path) -> Record:
        """Record of a new clip, with a folder of results that no other clip has."""
        folder, identity = name.with_suffix(""), identity_of(content, options)
        if self._owners.get(str(folder), identity) != identity or folder.parts[0] == "failed":
            folder = folder.with_name(f"{folder.name}-{identity[:8]}")
        return Record(content, options, str(name), str(folder))

    def note(self, record: Record) -> Path:
        """Path of the note on a failure; of a name too long for a file, its start and the identity."""
        name = os.fsencode(record.folder.replace(os.sep, "__"))
        if len(name) > _MOST_NAME:
            name = name[:_MOST_NAME] + f"-{record.identity[:8]}".encode()
        return self.out / "failed" / f"{os.fsdecode(name)}.txt"

    def fail(self, record: Record, reason: str) -> Record:
        """Record a failure, and write a note that says why and how to retry."""
        record = self.write(replace(record, state=FAILED, reason=reason))
        note = self.note(record)
        note.parent.mkdir(parents=True, exist_ok=True)
        tried = (
            f"Tried {record.tries} times, last on {time.strftime('%Y-%m-%d %H:%M')}.\n"
            if record.tries
            else ""
        )
        again = "Delete this file to have it tried again; a clip that was replaced is tried by itself.\n"
        note.write_text(printable(f"{record.name}\n\n{reason}\n\n{tried}{again}"), encoding="utf-8")
        return record

    def asked_again(self, record: Record) -> bool:
        """True where the note on a failure was deleted: the clip is to be tried again."""
        return record.state == FAILED and not self.note(record).exists()

    def done(self, record: Record, run: str = "") -> Record:
        """Record a success and remove an earlier note."""
        with contextlib.suppress(OSError):
            self.note(record).unlink()
        return self.write(replace(record, state=DONE, reason="", run=run))
