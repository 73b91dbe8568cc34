"""Process clips in child processes of `process-video`, some at a time, and record how each ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import IO

from inverters import threads
from inverters.generators.small_files import read_json
from pipeline.errors import InvidError
from pipeline.report.manifest import MANIFEST
from pipeline.watch.folder import Ready, fingerprint
from pipeline.watch.free_space import FULL, FreeSpace
from pipeline.watch.ledger import DONE, Ledger, Record
from storage.locks import FileLock

MOST_TRIES = 3
"""Starts of a clip whose process dies. A clip that `process-video` refuses (exit code 2) is not retried."""

COMMAND = [sys.executable, "-m", "pipeline.commands"]


@dataclass
class _Job:
    record: Record
    ready: Ready
    lock: FileLock
    process: subprocess.Popen[bytes]
    output: IO[bytes]


class LocalJobs:
    """Queue of clips, and the child processes that work on them."""

    def __init__(
        self,
        ledger: Ledger,
        most: int,
        say: Callable[[str], None],
        stopping: threading.Event,
        space: FreeSpace,
    ) -> None:
        """Start nothing yet.

        most: number of processes at once; say: called with one line per event; stopping: start no more;
        space: start none while too little is free.
        """
        self._ledger, self._most, self._say, self._stopping = ledger, most, say, stopping
        self._space = space
        self._queue: dict[str, tuple[Record, Ready]] = {}
        self._running: dict[str, _Job] = {}
        self._elsewhere: set[str] = set()

    def __contains__(self, identity: str) -> bool:
        return identity in self._queue or identity in self._running

    @property
    def running(self) -> bool:
        """True while a process runs."""
        return bool(self._running)

    @property
    def idle(self) -> bool:
        """True where nothing runs and nothing is queued."""
        return not self._running and not self._queue

    def add(self, record: Record, clip: Ready) -> None:
        """Queue a clip."""
        self._queue[record.identity] = (record, clip)

    def step(self) -> bool:
        """Record the processes that have ended and start queued clips; returns whether any has ended."""
        ended = [name for name, job in self._running.items() if job.process.poll() is not None]
        for identity in ended:
            self._end(self._running.pop(identity))
        while self._queue and len(self._running) < self._most and not self._stopping.is_set():
            if not self._space.suffices():
                break
            identity = next(iter(self._queue))
            self._start(identity, *self._queue.pop(identity))
        return bool(ended)

    def close(self) -> None:
        """Interrupt the running processes and forget the queue; a later watcher continues with them."""
        for job in self._running.values():
            with contextlib.suppress(OSError):
                job.process.send_signal(signal.SIGTERM)
        for job in self._running.values():
            try:
                job.process.wait(30)
            except subprocess.TimeoutExpired:
                job.process.kill()
                job.process.wait()
            job.output.close()
            job.lock.release()
        self._running.clear()
        self._queue.clear()

    def _start(self, identity: str, record: Record, clip: Ready) -> None:
        """Start a clip, unless another process works on it or the file has changed."""
        lock = self._ledger.lock(identity)
        if not lock.acquire(wait=False):  # another watcher, or a job that outlived one
            if identity not in self._elsewhere:
                self._elsewhere.add(identity)
                self._say(f"{record.name}: another process is at it")
            return
        try:
            if fingerprint(clip.path) != clip.print:
                raise FileNotFoundError
            now = self._ledger.find(identity)
            if now is not None and now.state == DONE:
                lock.release()
                return
            record = self._ledger.write(replace(record, tries=record.tries + 1))
        except (FileNotFoundError, InvidError):
            lock.release()  # replaced or gone; the next scan tells
            return
        except OSError:  # such as a full disk
            lock.release()
            raise
        command = [*COMMAND, "process", str(clip.path.resolve()), "--quiet"]
        command += ["--out", str(self._ledger.out / record.folder), *record.options]
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the process has ended
        # The child inherits the lock: it holds as long as either process lives.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            env=os.environ | threads.shared(self._most),
            pass_fds=[lock.descriptor],
            start_new_session=True,
        )
        self._running[identity] = _Job(record, clip, lock, process, errors)
        self._say(f"{record.name}: started")

    def _end(self, job: _Job) -> None:
        """Record how a process has ended, and let the clip go."""
        try:
            self._record(job, job.process.returncode, _last_line(job))
        finally:
            job.lock.release()

    def _record(self, job: _Job, code: int, said: str) -> None:
        """Record a job as done, as failed, or as one to be tried again."""
        record = job.record
        full = code == 2 and FULL in said
        if code == 0 and self._was_replaced(job):
            self._ledger.write(replace(record, tries=0, reason="replaced while it was worked on"))
            self._say(f"{record.name}: was replaced while it was worked on; the new one is taken")
        elif code == 0:
            self._ledger.done(record)
            self._say(f"{record.name}: done, in {self._ledger.out / record.folder}")
        elif (code == 2 and not full) or record.tries >= MOST_TRIES:
            if code < 0:
                said = f"its process was killed {record.tries} times (signal {-code})"
            self._ledger.fail(record, said)
            self._say(f"{record.name}: failed: {said}")
        else:
            self._ledger.write(replace(record, reason=said))
            self._say(f"{record.name}: stopped ({said}); it is tried again")

    def _was_replaced(self, job: _Job) -> bool:
        """True where the results may be of other bytes than those that were queued."""
        with contextlib.suppress(FileNotFoundError, InvidError):
            if fingerprint(job.ready.path) == job.ready.print:
                return False
        try:
            made = read_json(self._ledger.out / job.record.folder / MANIFEST)
            return bool(made["input"]["content_hash"] != job.record.content)
        except (OSError, ValueError, KeyError, TypeError):
            return True


def _last_line(job: _Job) -> str:
    """The last line that a process has printed."""
    job.output.seek(0)
    lines = job.output.read().decode(errors="replace").strip().splitlines()
    job.output.close()
    return lines[-1].removeprefix("invid: ") if lines else f"it ended with code {job.process.returncode}"
