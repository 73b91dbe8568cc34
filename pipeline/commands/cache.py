"""What is in the cache, whether it is whole, and room for more.

KEY is the beginning of a key, such as `invert-3f2a`; CLIP the name of a video. What a running job uses stays.

example: invid cache gc --keep 50GB
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from json import dumps
from typing import TYPE_CHECKING, Annotated, Any

from pipeline.commands.guard import say
from pipeline.errors import UserError, shortened
from pipeline.request.fields import Option

if TYPE_CHECKING:
    from storage import CacheReader, StageCache
    from storage.housekeeping import Entry

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


Which = Annotated[str, Option(metavar="KEY|CLIP")]
Root = Annotated[str | None, Option(metavar="DIR|URL", default="~/.cache/invid")]


def ls(*which: Which, cache: Root = None, json: bool = False) -> int:
    """List results and checkpoints, the least recently used first.

    Args:
        which: These alone; all unless given.
        cache: The cache: a folder, or a URL whose mirror is meant.
        json: Print JSON.
    """
    return _list(_opened(cache, which, to_read=True)[1], json)


def show(*which: Which, cache: Root = None) -> int:
    """Show results in full: arrays, files, what they took.

    Args:
        which: Beginning of a key, or name of a video.
        cache: The cache: a folder, or a URL whose mirror is meant.
    """
    return _show(*_opened(cache, which, "show", to_read=True))


def verify(*which: Which, cache: Root = None, json: bool = False) -> int:
    """Read every byte; what is damaged is dropped, to be computed again, and the exit code is 1.

    Args:
        which: These alone; all unless given.
        cache: The cache: a folder, or a URL whose mirror is meant.
        json: Print JSON.
    """
    return _verify(*_opened(cache, which), json)


def gc(*, keep: Annotated[str, Option(metavar="SIZE")], cache: Root = None) -> int:
    """Remove the least recently used until so much is left. What a running job uses stays.

    Args:
        keep: So much may stay, such as 50GB or 800M.
        cache: The cache: a folder, or a URL whose mirror is meant.
    """
    size = size_of(keep)
    return _make_room(_opened(cache)[0], size)


def rm(*which: Which, cache: Root = None) -> int:
    """Remove these. What a running job uses stays.

    Args:
        which: Beginning of a key, or name of a video.
        cache: The cache: a folder, or a URL whose mirror is meant.
    """
    return _remove(*_opened(cache, which, "rm"))


ACTIONS = {"ls": ls, "show": show, "verify": verify, "gc": gc, "rm": rm}


def _opened(
    where: str | None, which: Sequence[str] = (), needed_by: str = "", to_read: bool = False
) -> tuple[Any, list[Any]]:
    """The cache and the entries that the words name, or all; with `to_read` nothing in it is written.

    Raises UserError.
    """
    from pipeline.job.caches import place_of
    from storage import CacheReader, StageCache, housekeeping, is_cache

    if needed_by and not which:
        raise UserError(f"invid cache {needed_by} needs a KEY or CLIP; `invid cache ls` shows them")
    root = place_of(where or None)
    if not is_cache(root):
        raise UserError(f"{root}: there is no cache here; name one with --cache")
    cache = CacheReader(root) if to_read else StageCache(root)
    return cache, housekeeping.matching(cache, list(which)) if which else housekeeping.entries(cache)


def size_of(text: str) -> int:
    """Bytes of `50GB`, `800M` or `1.5 t`, in powers of ten. Raises UserError."""
    fits = re.fullmatch(r"\s*([0-9]{1,20}(?:\.[0-9]{1,20})?)\s*([kmgt]?)i?b?\s*", text.lower())
    if not fits:
        raise UserError(f"'{shortened(text)}' is no size; give one such as 50GB, 800M or 0")
    return int(float(fits[1]) * _UNITS[fits[2]])


def shown(size: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _list(found: Sequence[Entry], as_json: bool) -> int:
    if as_json:
        print(dumps([asdict(entry) | {"stage": entry.stage} for entry in found], indent=1))
        return 0
    print(f"{'stage':<11}{'key':<26}{'size':>10}  {'last used':<17}{'took':>9}  clip")
    for entry in found:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
        took = f"{entry.seconds:.1f} s" if entry.kind == "result" else ""
        clip = entry.label if entry.kind == "result" else f"({entry.kind})"
        say(f"{entry.stage:<11}{entry.key[:24]:<26}{shown(entry.bytes):>10}  {when:<17}{took:>9}  {clip}")
    print(f"{len(found)} entries, {shown(sum(entry.bytes for entry in found))}")
    return 0


def _show(cache: CacheReader, chosen: Sequence[Entry]) -> int:
    for entry in chosen:
        about: dict[str, Any] = asdict(entry) | {"stage": entry.stage}
        result = cache.get(entry.key) if entry.kind == "result" else None
        if result is not None:
            about["arrays"] = {n: f"{a.dtype} {list(a.shape)}" for n, a in result.arrays.items()}
            about["files"] = result.file_names
            about["folder"] = str(result.folder)
            result.close()
        print(dumps(about, indent=1))
    return 0


def _verify(cache: StageCache, chosen: Sequence[Entry], as_json: bool) -> int:
    from storage import housekeeping

    damaged = {}
    for entry in chosen:
        if (what := housekeeping.verify(cache, entry)) is not None:
            damaged[entry.key] = what
            print(f"invid: {entry.key} is damaged ({what}); dropped, to be computed again", file=sys.stderr)
    results = sum(entry.kind == "result" for entry in chosen)
    if as_json:
        print(dumps({"results": results, "damaged": damaged}, indent=1))
    else:
        print(f"{results} results read, {len(damaged)} damaged")
    return 1 if damaged else 0


def _make_room(cache: StageCache, keep: int) -> int:
    from storage import housekeeping

    removed, left = housekeeping.make_room(cache, keep)
    print(f"removed {len(removed)} entries, {shown(sum(e.bytes for e in removed))}; {shown(left)} are left")
    if left > keep:
        print("invid: jobs are using the rest", file=sys.stderr)
    return 0


def _remove(cache: StageCache, chosen: Sequence[Entry]) -> int:
    from storage import housekeeping

    removed = [entry for entry in chosen if housekeeping.remove(cache, entry)]
    print(f"removed {len(removed)} entries, {shown(sum(entry.bytes for entry in removed))}")
    for entry in chosen:
        if entry not in removed:
            print(f"invid: {entry.key} stays: a job is using it", file=sys.stderr)
    return 0
