"""Runs cases in processes of their own, under limits, and sees what each does to the files around it.

The caller has loaded all that cases need; each case is a fork of it. It may write to two folders, `work` and
`tmp`, of its own. All else in its slot must stay as it was: the inputs, and a folder outside with the home,
the current folder and some files that links of a case lead to.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REFUSED, READ, TRACEBACK, HANG, OVER = "refused", "read", "tracebacks", "hangs", "over_memory"
_MOST_TEXT = 6000
_MOST_SAID = 3000
"""Characters of a message that is still one line for a person; paths of cases are short."""
_POLL = 0.05
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Limits:
    """Of one case: seconds, bytes of memory above those of the caller, and bytes of a file."""

    seconds: float = 20.0
    memory: int = 2 << 30
    file: int = 2 << 30


@dataclass(frozen=True)
class Case:
    """Folders of a case; `tell` says what the case is, before anything is read that could end it."""

    number: int
    inputs: Path
    work: Path
    tell: Callable[[str, str], None]


Play = Callable[[Case], bool]
"""Makes the files of a case and reads them; True where they were read, False where damage was reported."""


@dataclass(frozen=True)
class Outcome:
    """How a case ended: `what` is one of the five words above; `outside` are files that it must not write."""

    case: int
    kind: str
    recipe: str
    what: str
    line: str = ""
    where: str = ""
    text: str = ""
    outside: tuple[str, ...] = ()
    seconds: float = 0.0
    mib: int = 0


@dataclass
class _Running:
    """A case that runs in a slot."""

    number: int
    slot: Path
    process: int
    watch: int
    pipe: int
    before: dict[str, list[int]]
    began: float = field(default_factory=time.monotonic)
    ended_for: str = ""


def run(
    numbers: Iterable[int],
    play: Play,
    folder: Path,
    limits: Limits | None = None,
    jobs: int = 2,
    declared: tuple[type[BaseException], ...] = (),
) -> Iterator[Outcome]:
    """Yield the outcome of each case, as they end; `declared` are the errors by which a file is refused."""
    limits = limits or Limits()
    waiting = iter(numbers)
    free = [_slot(folder / f"slot{number}") for number in range(jobs)]
    running: list[_Running] = []
    base = _memory(os.getpid())
    try:
        while True:
            while free and (number := next(waiting, None)) is not None:
                running.append(_start(number, play, free.pop(), limits, declared))
            if not running:
                return
            select.select([one.watch for one in running], [], [], _POLL)
            for one in list(running):
                _watch(one, limits, base)
                if select.select([one.watch], [], [], 0)[0]:
                    running.remove(one)
                    yield _ended(one, limits, base)
                    free.append(one.slot)
    finally:
        for one in running:
            _kill(one)
            os.wait4(one.process, 0)


def _slot(folder: Path) -> Path:
    """A folder for cases, one after the other, and what lies outside of them."""
    for name in ("outside/home", "outside/here", "outside/folder", "case"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "outside" / "secret.txt").write_text("seed: 7\n")
    (folder / "outside" / "folder" / "0.png").write_bytes(b"not ours")
    return folder


def _start(
    number: int, play: Play, slot: Path, limits: Limits, declared: tuple[type[BaseException], ...]
) -> _Running:
    shutil.rmtree(slot / "case")
    for name in ("inputs", "work", "tmp"):
        (slot / "case" / name).mkdir(parents=True)
    before = _seen(slot / "outside") | {".": _names(slot)}
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process == 0:
        os.close(reading)
        _child(number, play, slot, writing, limits, declared)
    os.close(writing)
    return _Running(number, slot, process, os.pidfd_open(process), reading, before)


def _child(
    number: int, play: Play, slot: Path, pipe: int, limits: Limits, declared: tuple[type[BaseException], ...]
) -> None:
    """Play one case, say how it ended, and leave."""
    answer: dict[str, Any] = {}

    def say(**more: Any) -> None:
        answer.update(more)
        os.write(pipe, (json.dumps(more) + "\n").encode("ascii"))

    def tell(kind: str, recipe: str) -> None:
        say(kind=kind, recipe=recipe[:1000], inputs=_seen(inputs))

    inputs = slot / "case" / "inputs"
    try:
        _settle(slot, limits)
        read = play(Case(number, inputs, slot / "case" / "work", tell))
        say(what=READ if read else REFUSED)
    except declared as error:
        said = str(error)
        if len(said) > _MOST_SAID:
            say(what=TRACEBACK, line=f"a message of {len(said)} characters: {said[:200]}", **_told(error))
        else:
            say(what=REFUSED, line=said[:500])
    except MemoryError as error:
        say(what=OVER, line=f"MemoryError: {error}"[:500], **_told(error))
    except BaseException as error:  # also SystemExit: no reader may end the process
        say(what=TRACEBACK, line=f"{type(error).__name__}: {error}"[:500], **_told(error))
    finally:
        os._exit(0)


def _told(error: BaseException) -> dict[str, str]:
    """The traceback, and the last line of ours in it."""
    ours = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(str(ROOT))]
    ours = [f for f in ours if "benchmarks" not in f.filename] or ours
    where = ours[-1] if ours else None
    place = "" if where is None else f"{Path(where.filename).relative_to(ROOT)}:{where.lineno} {where.name}"
    text = "".join(traceback.format_exception(error, limit=-25))
    return {"where": place, "text": text[-_MOST_TEXT:]}


def _settle(slot: Path, limits: Limits) -> None:
    """A session, a home, a folder and limits of its own; what it prints goes to a file."""
    os.setsid()
    log = os.open(slot / "case" / "tmp" / "log", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    null = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, null), (1, log), (2, log)):
        os.dup2(source, target)
    faulthandler.enable(log)
    faulthandler.register(signal.SIGUSR1, log)
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file, limits.file))
    os.environ |= {"HOME": str(slot / "outside" / "home"), "TMPDIR": str(slot / "case" / "tmp")}
    tempfile.tempdir = None
    os.chdir(slot / "outside" / "here")


def _watch(one: _Running, limits: Limits, base: int) -> None:
    """End a case that takes too long or too much."""
    if one.ended_for:
        return
    if time.monotonic() - one.began > limits.seconds:
        one.ended_for = HANG
    elif _memory(one.process) - base > limits.memory:
        one.ended_for = OVER
    if one.ended_for:
        os.kill(one.process, signal.SIGUSR1)  # it writes where it is
        time.sleep(_POLL)
        _kill(one)


def _kill(one: _Running) -> None:
    for kill in (os.killpg, os.kill):  # the group exists once the case has begun a session
        try:
            kill(one.process, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _memory(process: int) -> int:
    """Resident bytes of a process; 0 where it has ended."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def _ended(one: _Running, limits: Limits, base: int) -> Outcome:
    """The outcome of a case whose process has ended."""
    _, status, usage = os.wait4(one.process, 0)
    _kill_rest(one)
    with os.fdopen(one.pipe, "rb") as pipe:
        said: dict[str, Any] = {}
        for line in pipe.read().decode().splitlines():
            said |= json.loads(line)
    os.close(one.watch)
    peak = usage.ru_maxrss * 1024 - base
    what, line, where, text = (said.get(name, "") for name in ("what", "line", "where", "text"))
    log = (
        (one.slot / "case" / "tmp" / "log").read_text(errors="replace")[:_MOST_TEXT] if _has_log(one) else ""
    )
    if one.ended_for:
        what, line, text = one.ended_for, _frame(log), text or log
        line = f"more than {limits.seconds:g} s; {line}" if what == HANG else line
    elif peak > limits.memory:
        what, line = OVER, line or f"{peak >> 20} MiB"
    elif not what:
        name = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"exit code {status}"
        what, line, text = TRACEBACK, f"died by {name}; {_frame(log)}", log
    outside = _changes(one.before, _seen(one.slot / "outside") | {".": _names(one.slot)})
    if "inputs" in said:
        outside += [f"inputs/{n}" for n in _changes(said["inputs"], _seen(one.slot / "case" / "inputs"))]
    if outside:
        shutil.rmtree(one.slot / "outside")
        _slot(one.slot)
    seconds = time.monotonic() - one.began
    kind, recipe = said.get("kind", "?"), said.get("recipe", "")
    return Outcome(one.number, kind, recipe, what, line, where, text, tuple(outside), seconds, peak >> 20)


def _kill_rest(one: _Running) -> None:
    """End what a case has left running in its session."""
    try:
        os.killpg(one.process, signal.SIGKILL)
    except ProcessLookupError:
        return


def _has_log(one: _Running) -> bool:
    return (one.slot / "case" / "tmp" / "log").is_file()


def _frame(log: str) -> str:
    """The first line of ours in what faulthandler wrote."""
    lines = [line.strip() for line in log.splitlines() if line.strip().startswith("File")]
    ours = [line for line in lines if str(ROOT) in line and "benchmarks" not in line]
    return next(iter(ours or lines or log.splitlines()), "").replace(f"{ROOT}/", "")


def _seen(folder: Path) -> dict[str, list[int]]:
    """What can be seen of the files below a folder without opening one."""
    found = {}
    for path in (folder, *folder.rglob("*")):
        info = path.lstat()
        name = os.fsencode(path.relative_to(folder)).decode(errors="backslashreplace")
        found[name] = [info.st_mode, info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino]
    return found


def _names(slot: Path) -> list[int]:
    """The number of entries of a slot beside its own two."""
    return [len([name for name in slot.iterdir() if name.name not in ("outside", "case")])]


def _changes(before: dict[str, list[int]], after: dict[str, list[int]]) -> list[str]:
    """Names that are new, gone or changed."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
