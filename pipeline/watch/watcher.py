"""The loop behind `invid watch`: look, take what is ready, work on it, keep what became of it."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, Protocol

from pipeline.errors import InvidError, UserError
from pipeline.report.manifest import MANIFEST
from pipeline.report.output_folder import check_writable
from pipeline.watch.clip_settings import options_of
from pipeline.watch.folder import Print, Ready, WatchedFolder, fingerprint
from pipeline.watch.ledger import DONE, FAILED, LOST, SUBMITTED, Ledger, Record, identity_of
from storage.locks import FileLock

MOST_TRIES = 3
"""Of a clip whose process dies; what is wrong with the clip itself is not tried again."""

COMMAND = [sys.executable, "-m", "pipeline.commands"]


class Deployment(Protocol):
    """A deployment that clips are handed to, instead of a process here. Raises UserError without a server."""

    def submit(self, clip: Path, out: Path, options: Sequence[str], key: str) -> str:
        """Hand a clip over; returns a name of the run, the same for a key that was used before."""
        ...

    def outcomes(self, runs: Sequence[str]) -> dict[str, tuple[str, str]]:
        """DONE, FAILED or LOST, and why, of those runs that have come to an end."""
        ...


@dataclass
class _Work:
    record: Record
    ready: Ready
    lock: FileLock
    process: subprocess.Popen[bytes]
    errors: IO[bytes]


class Watcher:
    """Takes clips from `root` and leaves results in `out`, each content once with each set of options.

    Args:
        options: words of the command line for every clip; those of a clip's side file come after.
        quiet: seconds without a write after which a file counts as complete.
        jobs: clips worked on at once.
        say: told of everything that happens, in one line each.
        deployment: given, clips are handed to it instead of being worked on here.

    Raises UserError where there is no such folder, or `out` cannot be written.
    """

    def __init__(
        self,
        root: Path,
        out: Path,
        options: Sequence[str] = (),
        quiet: float = 30.0,
        jobs: int = 1,
        say: Callable[[str], None] = print,
        deployment: Deployment | None = None,
    ) -> None:
        if not root.is_dir():
            raise UserError(f"{root}: there is no such folder to watch")
        check_writable(out)  # not writable: say so now
        self.root, self.out, self.options, self.jobs = root, out, list(options), jobs
        self._say, self._deployment = say, deployment
        self.ledger = Ledger(out)
        self._index = out / ".invid" / "index.json"
        self.folder = WatchedFolder(root, quiet, out, self._read_index())
        self._told: set[str] = set()
        self._elsewhere: set[str] = set()
        self._refused: dict[Path, Record] = {}
        self._submitted = {r.identity: r for r in self.ledger.all() if r.state == SUBMITTED}
        self._unsent: dict[str, str] = {}
        self._queue: dict[str, tuple[Record, Ready]] = {}
        self._works: dict[str, _Work] = {}
        self._indexed: dict[str, tuple[Print, str]] = {}
        self._wake, self._stop = threading.Event(), threading.Event()

    @property
    def idle(self) -> bool:
        """Nothing is being worked on, and nothing waits."""
        return not self._works and not self._queue

    # The loop

    def run(self, interval: float = 30.0) -> None:
        """Watch until stop(). Files that change wake it up; the timer alone would do."""
        with self._woken_by_files():
            while not self._stop.is_set():
                self.scan()
                self.work()
                busy = bool(self._works) or self.folder.settling
                self._wake.wait(1.0 if self._works else self.folder.pause() if busy else interval)
                self._wake.clear()
        self.close()

    def run_once(self) -> None:
        """Process every clip that is complete, or is so after at most two quiet times.

        Leaves files that are still being written then, and clips that another process works on.
        Raises UserError where clips could not be submitted.
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
        self._check_sent()

    def look_twice(self) -> None:
        """Take what is ready now, or after one quiet time. Raises UserError as run_once does."""
        self.scan()
        began = time.monotonic()
        while self.folder.settling and time.monotonic() - began < self.folder.quiet + 2:
            self._stop.wait(self.folder.pause())
            self.scan()
        self._check_sent()

    def _check_sent(self) -> None:
        if self._unsent:
            name, reason = next(iter(self._unsent.items()))
            raise UserError(f"{name} could not be submitted: {reason}")

    def stop(self) -> None:
        """End the loop; work that is under way is interrupted, and gone on with by the next watcher."""
        self._stop.set()
        self._wake.set()

    def close(self) -> None:
        """Interrupt what is under way."""
        for work in self._works.values():
            with contextlib.suppress(OSError):
                work.process.send_signal(signal.SIGTERM)
        for work in self._works.values():
            try:
                work.process.wait(30)
            except subprocess.TimeoutExpired:
                work.process.kill()
                work.process.wait()
            work.errors.close()
            work.lock.release()
        self._works.clear()
        self._queue.clear()

    @contextlib.contextmanager
    def _woken_by_files(self) -> Any:
        """A wake-up as soon as something changes below the folder, where that can be had."""
        try:
            from watchfiles import watch
        except ImportError:
            yield
            return
        ended = threading.Event()

        def listen() -> None:
            with contextlib.suppress(OSError, RuntimeError):  # such as too many watches: the timer remains
                for _ in watch(self.root, stop_event=ended, raise_interrupt=False):
                    self._wake.set()

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(timeout=5)

    # Taking

    def scan(self) -> None:
        """Look once, and queue or submit what is new."""
        for path, record in list(self._refused.items()):
            if self.ledger.asked_again(record):
                self.folder.forget(path)
                del self._refused[path]
        self._hear()
        ready, refused = self.folder.look()
        for path, reason in refused.items():
            self._refuse(path, reason)
        for clip in ready:
            self._consider(clip)
        self._write_index()

    def _consider(self, clip: Ready) -> None:
        try:
            options = [*self.options, *options_of(clip.path)]
        except UserError as error:
            self._refuse(clip.path, str(error), clip.content)
            return
        identity = identity_of(clip.content, options)
        if identity in self._queue or identity in self._works:
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
        if self._deployment is not None:
            self._hand_over(self._deployment, record, clip)
        else:
            self._queue[identity] = (record, clip)
            if identity not in self._told:
                self._told.add(identity)
                self._say(f"{clip.name}: queued")

    def _hand_over(self, deployment: Deployment, record: Record, clip: Ready) -> None:
        key = f"invid-{record.identity}-{record.when:.0f}" if record.reason else f"invid-{record.identity}"
        out = (self.out / record.folder).resolve()
        try:
            run = deployment.submit(clip.path.resolve(), out, record.options, key)
        except UserError as error:
            if self._unsent.get(record.name) != str(error):
                self._say(f"{clip.name}: could not be submitted, and will be: {error}")
            self._unsent[record.name] = str(error)
            return
        self._unsent.pop(record.name, None)
        self._submitted[record.identity] = self.ledger.write(replace(record, state=SUBMITTED, run=run))
        self._say(f"{clip.name}: submitted as {run}")

    def _hear(self) -> None:
        """Take note of what has become of clips that were handed over."""
        if self._deployment is None or not self._submitted:
            return
        try:
            ended = self._deployment.outcomes([record.run for record in self._submitted.values()])
        except UserError:  # it is down; submitting tells
            return
        for identity, record in list(self._submitted.items()):
            state, reason = ended.get(record.run, ("", ""))
            if state == DONE:
                self.ledger.done(record, record.run)
                self._say(f"{record.name}: done, in {self.out / record.folder}")
            elif state == FAILED:
                self.ledger.fail(record, reason)
                self._say(f"{record.name}: failed: {reason}")
            elif state == LOST:
                self.ledger.write(replace(record, state="", run=""))
                self._say(f"{record.name}: its run is not known any more; it is submitted again")
            else:
                continue
            del self._submitted[identity]

    def _refuse(self, path: Path, reason: str, content: str = "") -> None:
        """What cannot be taken at all: its note is keyed by name and reason, as there may be no content."""
        name = path.relative_to(self.root)
        record = Record(f"refused {name} {content} {reason}", [], str(name), str(name.with_suffix("")))
        found = self.ledger.find(record.identity)
        if found is not None and not self.ledger.asked_again(found):
            self._refused[path] = found
            return
        self._refused[path] = self.ledger.fail(record, reason)
        self._say(f"{name}: refused: {reason}")

    # Working

    def work(self) -> bool:
        """Start what there is room for, and take note of what has ended; whether something has."""
        ended = [name for name, work in self._works.items() if work.process.poll() is not None]
        for identity in ended:
            self._ended(self._works.pop(identity))
        while self._queue and len(self._works) < self.jobs and not self._stop.is_set():
            identity = next(iter(self._queue))
            self._start(identity, *self._queue.pop(identity))
        return bool(ended)

    def _start(self, identity: str, record: Record, clip: Ready) -> None:
        lock = self.ledger.lock(identity)
        if not lock.acquire(wait=False):  # another watcher, or a job that outlived one: the next look tells
            if identity not in self._elsewhere:
                self._elsewhere.add(identity)
                self._say(f"{record.name}: another process is at it")
            return
        try:
            if fingerprint(clip.path) != clip.print:
                raise FileNotFoundError
        except (FileNotFoundError, InvidError):
            lock.release()  # replaced or gone: the next look tells
            return
        now = self.ledger.find(identity)
        if now is not None and now.state == DONE:
            lock.release()
            return
        record = self.ledger.write(replace(record, tries=record.tries + 1))
        command = [*COMMAND, "process", str(clip.path.resolve()), "--quiet"]
        command += ["--out", str(self.out / record.folder), *record.options]
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the process has ended
        # The lock goes with the process: it holds as long as either of us lives.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            pass_fds=[lock.descriptor],
            start_new_session=True,
        )
        self._works[identity] = _Work(record, clip, lock, process, errors)
        self._say(f"{record.name}: started")

    def _ended(self, work: _Work) -> None:
        work.errors.seek(0)
        lines = work.errors.read().decode(errors="replace").strip().splitlines()
        work.errors.close()
        code, record = work.process.returncode, work.record
        said = lines[-1].removeprefix("invid: ") if lines else f"it ended with code {code}"
        if code == 0 and self._was_replaced(work):
            self.ledger.write(replace(record, tries=0, reason="replaced while it was worked on"))
            self._say(f"{record.name}: was replaced while it was worked on; the new one is taken")
        elif code == 0:
            self.ledger.done(record)
            self._say(f"{record.name}: done, in {self.out / record.folder}")
        elif code == 2 or record.tries >= MOST_TRIES:
            if code < 0:
                said = f"its process was killed {record.tries} times (signal {-code})"
            self.ledger.fail(record, said)
            self._say(f"{record.name}: failed: {said}")
        else:
            self.ledger.write(replace(record, reason=said))
            self._say(f"{record.name}: stopped ({said}); it is tried again")
        work.lock.release()

    def _was_replaced(self, work: _Work) -> bool:
        """Whether the results may be of other bytes than those that were taken."""
        with contextlib.suppress(FileNotFoundError, InvidError):
            if fingerprint(work.ready.path) == work.ready.print:
                return False
        try:
            made = json.loads((self.out / work.record.folder / MANIFEST).read_text())
            return bool(made["input"]["content_hash"] != work.record.content)
        except (OSError, ValueError, KeyError, TypeError):
            return True

    # What is known of files that have not changed since the last time

    def _read_index(self) -> dict[str, tuple[Print, str]]:
        try:
            found = json.loads(self._index.read_text())
            return {name: (Print(**entry["print"]), str(entry["content"])) for name, entry in found.items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return {}

    def _write_index(self) -> None:
        known = self.folder.known()
        if known == self._indexed:
            return
        text = json.dumps({n: {"print": asdict(p), "content": c} for n, (p, c) in known.items()}, indent=1)
        side = self._index.with_name(f".{uuid.uuid4().hex[:12]}")
        side.write_text(text)
        side.replace(self._index)
        self._indexed = known
