"""Submit clips to a deployment (Prefect) instead of processing them here, and record what became of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from pipeline.errors import UserError
from pipeline.watch.folder import Ready
from pipeline.watch.free_space import FULL
from pipeline.watch.ledger import DONE, FAILED, LOST, SUBMITTED, Ledger, Record

MOST_FULL = 3
"""Times that a clip is submitted whose run fails by a full disk; the watcher waits for room in between."""


class UnreachableError(UserError):
    """A service is down or busy for now; the same request may be granted later."""


class Deployment(Protocol):
    """A service that runs `process-video`.

    Methods raise UnreachableError where it does not answer, and UserError for what it refuses.
    """

    def submit(self, clip: Path, out: Path, options: Sequence[str], key: str) -> str:
        """Submit a clip; returns the name of the run, the same one for a `key` that was used before."""
        ...

    def outcomes(self, runs: Sequence[str]) -> dict[str, tuple[str, str]]:
        """State (DONE, FAILED or LOST) and reason of those of these runs that have ended."""
        ...


class Submissions:
    """Clips that were submitted, until their runs have ended."""

    def __init__(self, deployment: Deployment, ledger: Ledger, say: Callable[[str], None]) -> None:
        """Take up the submissions in the ledger; say is called with one line per event."""
        self._deployment, self._ledger, self._say = deployment, ledger, say
        self._submitted = {r.identity: r for r in ledger.all() if r.state == SUBMITTED}
        self._unsent: dict[str, UserError] = {}
        self._told: dict[str, str] = {}

    def start_scan(self) -> None:
        """Forget which clips could not be submitted: a scan tries those again that are still there."""
        self._unsent.clear()

    def submit(self, record: Record, clip: Ready) -> None:
        """Submit a clip; where the deployment cannot be reached, a later scan tries again."""
        key = f"invid-{record.identity}-{record.when:.3f}" if record.reason else f"invid-{record.identity}"
        out = (self._ledger.out / record.folder).resolve()
        try:
            run = self._deployment.submit(clip.path.resolve(), out, record.options, key)
        except UserError as error:
            if self._told.get(record.name) != str(error):
                self._say(f"{clip.name}: could not be submitted, and will be: {error}")
            self._told[record.name], self._unsent[record.name] = str(error), error
            return
        self._told.pop(record.name, None)
        self._submitted[record.identity] = self._ledger.write(replace(record, state=SUBMITTED, run=run))
        self._say(f"{clip.name}: submitted as {run}")

    def collect(self) -> None:
        """Record the outcome of runs that have ended."""
        if not self._submitted:
            return
        try:
            ended = self._deployment.outcomes([record.run for record in self._submitted.values()])
        except UserError:  # the service is down; submit() reports that
            return
        for identity, record in list(self._submitted.items()):
            state, reason = ended.get(record.run, ("", ""))
            if state == DONE:
                self._ledger.done(record, record.run)
                self._say(f"{record.name}: done, in {self._ledger.out / record.folder}")
            elif state == FAILED and FULL in reason and record.tries + 1 < MOST_FULL:
                self._ledger.write(replace(record, state="", run="", reason=reason, tries=record.tries + 1))
                self._say(f"{record.name}: {reason}; it is submitted again")
            elif state == FAILED:
                self._ledger.fail(record, reason)
                self._say(f"{record.name}: failed: {reason}")
            elif state == LOST:
                self._ledger.write(replace(record, state="", run=""))
                self._say(f"{record.name}: its run is not known any more; it is submitted again")
            else:
                continue
            del self._submitted[identity]

    def check(self) -> None:
        """Raise UserError if the last scan could not submit a clip; UnreachableError if a later one may."""
        if self._unsent:
            lasting = (one for one in self._unsent.items() if not isinstance(one[1], UnreachableError))
            name, error = next(lasting, next(iter(self._unsent.items())))
            raise type(error)(f"{name} could not be submitted: {error}")
