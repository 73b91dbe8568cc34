"""What is in the cache, whether it is whole, and room for more.

    invid cache ls                     results and checkpoints, the least recently used first
    invid cache show KEY...            one in full: arrays, files, what it took
    invid cache verify [KEY|CLIP...]   read every byte; what is damaged is dropped, to be computed again
    invid cache gc --keep 50GB         remove the least recently used until so much is left
    invid cache rm KEY|CLIP...         remove these

KEY is the beginning of a key, such as `invert-3f2a`; CLIP the name of a video. What a running job uses stays.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.job.caches import default_cache, mirror_of
from storage import StageCache, housekeeping
from storage.housekeeping import Entry

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `invid cache`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = __doc__
    parser.add_argument("action", choices=("ls", "show", "verify", "gc", "rm"))
    parser.add_argument("which", nargs="*", metavar="KEY|CLIP")
    parser.add_argument("--cache", metavar="DIR|URL", help="the folder, or that of a URL (~/.cache/invid)")
    parser.add_argument("--keep", metavar="SIZE", help="with gc: so much may stay, such as 50GB or 800M")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace) -> int:
    """Do it; 1 where `verify` found damage, else 0. Raises UserError."""
    root = mirror_of(args.cache) if "://" in str(args.cache) else Path(args.cache or default_cache())
    if not root.is_dir():
        raise UserError(f"{root}: there is no cache here; name one with --cache")
    cache = StageCache(root)
    chosen = housekeeping.matching(cache, args.which) if args.which else housekeeping.entries(cache)
    if args.action in ("show", "rm") and not args.which:
        raise UserError(f"invid cache {args.action} needs a KEY or CLIP; `invid cache ls` shows them")
    if args.action == "gc":
        return _gc(cache, args)
    if args.action == "rm":
        return _remove(cache, chosen)
    if args.action == "verify":
        return _verify(cache, chosen, args.json)
    if args.action == "show":
        return _show(cache, chosen)
    return _list(chosen, args.json)


def size_of(text: str) -> int:
    """Bytes of `50GB`, `800M` or `1.5 t`, in powers of ten. Raises UserError."""
    fits = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*", text.lower())
    if not fits:
        raise UserError(f"'{text}' is no size; give one such as 50GB, 800M or 0")
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
        print(json.dumps([asdict(entry) | {"stage": entry.stage} for entry in found], indent=1))
        return 0
    print(f"{'stage':<11}{'key':<26}{'size':>10}  {'last used':<17}{'took':>9}  clip")
    for entry in found:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
        took = f"{entry.seconds:.1f} s" if entry.kind == "result" else ""
        clip = entry.label if entry.kind == "result" else f"({entry.kind})"
        print(f"{entry.stage:<11}{entry.key[:24]:<26}{shown(entry.bytes):>10}  {when:<17}{took:>9}  {clip}")
    print(f"{len(found)} entries, {shown(sum(entry.bytes for entry in found))}")
    return 0


def _show(cache: StageCache, chosen: Sequence[Entry]) -> int:
    for entry in chosen:
        about: dict[str, Any] = asdict(entry) | {"stage": entry.stage}
        result = cache.get(entry.key) if entry.kind == "result" else None
        if result is not None:
            about["arrays"] = {n: f"{a.dtype} {list(a.shape)}" for n, a in result.arrays.items()}
            about["files"] = result.file_names
            about["folder"] = str(result.folder)
            result.close()
        print(json.dumps(about, indent=1))
    return 0


def _verify(cache: StageCache, chosen: Sequence[Entry], as_json: bool) -> int:
    damaged = {}
    for entry in chosen:
        if (what := housekeeping.verify(cache, entry)) is not None:
            damaged[entry.key] = what
            print(f"invid: {entry.key} is damaged ({what}); dropped, to be computed again", file=sys.stderr)
    results = sum(entry.kind == "result" for entry in chosen)
    if as_json:
        print(json.dumps({"results": results, "damaged": damaged}, indent=1))
    else:
        print(f"{results} results read, {len(damaged)} damaged")
    return 1 if damaged else 0


def _gc(cache: StageCache, args: argparse.Namespace) -> int:
    if args.keep is None or args.which:
        raise UserError("invid cache gc needs --keep SIZE, such as --keep 50GB, and no keys")
    keep = size_of(args.keep)
    removed, left = housekeeping.make_room(cache, keep)
    print(f"removed {len(removed)} entries, {shown(sum(e.bytes for e in removed))}; {shown(left)} are left")
    if left > keep:
        print("invid: jobs are using the rest", file=sys.stderr)
    return 0


def _remove(cache: StageCache, chosen: Sequence[Entry]) -> int:
    removed = [entry for entry in chosen if housekeeping.remove(cache, entry)]
    print(f"removed {len(removed)} entries, {shown(sum(entry.bytes for entry in removed))}")
    for entry in chosen:
        if entry not in removed:
            print(f"invid: {entry.key} stays: a job is using it", file=sys.stderr)
    return 0
