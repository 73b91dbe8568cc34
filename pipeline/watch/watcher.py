"""The loop of `invid watch`: find complete clips, queue or submit each once, record what became of it."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from inverters.generators.small_files import read_json
from pipeline.errors import UserError
from pipeline.job.caches import place_of
from pipeline.report.output_folder import check_writable
from pipeline.request.options import parse
from pipeline.watch.clip_settings import options_of
from pipeline.watch.folder import Print, Ready, WatchedFolder
from pipeline.watch.free_space import FreeSpace
from pipeline.watch.ledger import DONE, FAILED, SUBMITTED, Ledger, Record, identity_of
from pipeline.watch.local_jobs import LocalJobs
from pipeline.watch.submissions import Deployment, Submissions, UnreachableError
from storage.errors import is_full
from storage.files import replacing

LEAST_FREE = 2 * 10**9
"""Bytes that must be free on the disks of results and cache for a clip to be taken."""


def looked_at(out: Path) -> Path:
    """A file below a folder of results whose time is that of the last look at the clips."""
    return out / ".invid" / "looked"


class Watcher:
    """Processes the clips below `root` into `out`, each content once with each set of options."""

    def __init__(
        self,
        root: Path,
        out: Path,
        options: Sequence[str] = (),
        quiet: float = 30.0,
        jobs: int = 1,
        say: Callable[[str], None] = print,
        deployment: Deployment | None = None,
        free: int = LEAST_FREE,
    ) -> None:
        """Open the folders and read what earlier watchers recorded.

        Args:
            root: folder to watch, with all below it.
            out: folder for results, records and notes on failures.
            options: words of the command line for every clip; those of a clip's side file come after.
            quiet: seconds without a write after which a file counts as complete.
            jobs: number of clips processed at once.
            say: called with one line per event.
            deployment: submit clips to it instead of processing them here.
            free: bytes that must be free on the disks of `out` and of the cache; clips wait until they are.

        Raises:
            UserError: there is no folder `root`, `out` is it or cannot be written, or an option is wrong.
        """
        if not root.is_dir():
            raise UserError(f"{root}: there is no such folder to watch")
        if root.resolve() == out.resolve():
            raise UserError(f"--out {out}: results would be taken for clips; name another folder")
        check_writable(out)
        self.root, self.out, self.options = root, out, list(options)
        self._say = say
        self.ledger = Ledger(out)
        self._index = out / ".invid" / "index.json"
        self.folder = WatchedFolder(root, quiet, out, self._read_index())
        self._wake, self._stop = threading.Event(), threading.Event()
        cache = place_of(parse([str(root), *options]).cache)
        self._space = FreeSpace([out, cache], free, say)
        self._local = LocalJobs(self.ledger, jobs, say, self._stop, self._space)
        self._submissions = None if deployment is None else Submissions(deployment, self.ledger, say)
        self._told: set[str] = set()
        self._waiting = False  # whether a clip was not submitted because too little space is free
        self._full = False
        self._refused: dict[Path, Record] = {}
        self._indexed: dict[str, tuple[Print, str]] = {}

    @property
    def idle(self) -> bool:
        """True where no clip is queued, being processed here, or waiting for space."""
        return self._local.idle and not self._waiting

    def waits(self) -> bool:
        """Whether a clip waits for space or for the deployment. Raises UserError if it refuses one."""
        try:
            self._check_submitted()
        except UnreachableError:
            return True
        return self._waiting

    def run(self, interval: float = 30.0) -> None:
        """Watch until stop(); scan every `interval` seconds and whenever files change."""
        with self._woken_by_files():
            while not self._stop.is_set():
                self._step()
                busy = self._local.running or self.folder.settling
                self._wake.wait(1.0 if self._local.running else self.folder.pause() if busy else interval)
                self._wake.clear()
        self.close()

    def _step(self) -> None:
        """One scan and what follows from it; a disk too full for our own records is waited for."""
        try:
            self.scan()
            self.work()
        except OSError as error:
            if not is_full(error):
                raise
            if not self._full:
                self._say(f"records cannot be written ({error}); the watcher waits for room")
            self._full = True
        else:
            self._full = False

    def run_once(self) -> None:
        """Process everything that is complete, or becomes complete without another write; then end.

        Files still being written after two quiet times are left, and clips that another process works on.
        Raises UserError where clips could not be submitted, UnreachableError where a later call may do it.
        """
        since = time.monotonic()
        while not self._stop.is_set():
            self.scan()
            if self.work() or not self.idle:
                since = time.monotonic()
            elif not self.folder.settling or time.monotonic() - since > 2 * self.folder.quiet + 5:
                break
            self._stop.wait(0.2)
        self.close()
        self._check_submitted()

    def look_twice(self) -> None:
        """Queue or submit what is complete now or after one quiet time. Raises UserError as run_once does."""
        self.scan()
        began = time.monotonic()
        while self.folder.settling and time.monotonic() - began < self.folder.quiet + 2:
            self._stop.wait(self.folder.pause())
            self.scan()
        self._check_submitted()

    def _check_submitted(self) -> None:
        if self._submissions is not None:
            self._submissions.check()

    def stop(self) -> None:
        """End the loop; interrupted clips are continued by the next watcher."""
        self._stop.set()
        self._wake.set()

    def close(self) -> None:
        """Interrupt the running jobs."""
        self._local.close()

    def work(self) -> bool:
        """Start queued clips and record ended ones; returns whether one has ended."""
        return self._local.step()

    @contextlib.contextmanager
    def _woken_by_files(self) -> Iterator[None]:
        """Context in which a change below the folder ends the wait, where file events are available."""
        try:
            from watchfiles import watch
        except ImportError:
            yield
            return
        ended = threading.Event()

        def listen() -> None:
            with contextlib.suppress(OSError, RuntimeError):  # such as too many watches; the timer remains
                for _ in watch(self.root, stop_event=ended, raise_interrupt=False):
                    self._wake.set()

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(timeout=5)

    def scan(self) -> None:
        """Look at the folder once, and queue, submit or refuse new files."""
        for path, record in list(self._refused.items()):
            if self.ledger.asked_again(record):
                self.folder.forget(path)
                del self._refused[path]
        self.collect()
        self._waiting = False
        if self._submissions is not None:
            self._submissions.start_scan()
        ready, refused = self.folder.look()
        for path, reason in refused.items():
            self._refuse(path, reason)
        for clip in ready:
            self._consider(clip)
        self._write_index()
        with contextlib.suppress(OSError):  # a full disk stops no watcher
            looked_at(self.ledger.out).touch()

    def collect(self) -> None:
        """Record what became of submitted clips; one that is to be submitted again waits for a scan."""
        if self._submissions is not None:
            self._submissions.collect()

    def _consider(self, clip: Ready) -> None:
        """Queue or submit a complete clip, unless it was taken before with these options."""
        try:
            options = [*self.options, *options_of(clip.path)]
        except UserError as error:
            self._refuse(clip.path, str(error), clip.content)
            return
        identity = identity_of(clip.content, options)
        if identity in self._local:
            return
        record = self.ledger.find(identity)
        if record is not None and str(clip.name) not in (record.name, *record.others):
            record = self.ledger.write(replace(record, others=[*record.others, str(clip.name)]))
            self._say(f"{clip.name}: the same as {record.name}")
        again = record is not None and self.ledger.asked_again(record)
        if record is not None and record.state in (DONE, FAILED, SUBMITTED) and not again:
            return
        if record is None:
            record = self.ledger.write(self.ledger.new(clip.content, options, clip.name))
        if again:
            record = replace(record, state="", tries=0)
        if self._submissions is not None:
            if self._space.suffices():
                self._submissions.submit(record, clip)
            else:
                self._waiting = True
            return
        self._local.add(record, clip)
        if identity not in self._told:
            self._told.add(identity)
            self._say(f"{clip.name}: queued")

    def _refuse(self, path: Path, reason: str, content: str = "") -> None:
        """Record a file that cannot be taken; by name and reason, as its content may be unknown."""
        name = path.relative_to(self.root)
        record = Record(f"refused {name} {content} {reason}", [], str(name), str(name.with_suffix("")))
        found = self.ledger.find(record.identity)
        if found is not None and not self.ledger.asked_again(found):
            self._refused[path] = found
            return
        self._refused[path] = self.ledger.fail(record, reason)
        self._say(f"{name}: refused: {reason}")

    def _read_index(self) -> dict[str, tuple[Print, str]]:
        """Fingerprints and contents of files by name, of an earlier watcher."""
        try:
            found = read_json(self._index)
            return {name: (Print(**entry["print"]), str(entry["content"])) for name, entry in found.items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return {}

    def _write_index(self) -> None:
        """Keep fingerprints and contents, where they have changed."""
        known = self.folder.known()
        if known == self._indexed:
            return
        text = json.dumps({n: {"print": asdict(p), "content": c} for n, (p, c) in known.items()}, indent=1)
        with replacing(self._index) as side:
            side.write_text(text)
        self._indexed = known
