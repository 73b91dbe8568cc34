"""Damaged and made-up files before every reader: what is refused, what is read, and what goes wrong.

    python -m benchmarks.fuzz --cases 10000 --seed 1 --json
    python -m benchmarks.fuzz --seed 1 --only 4711 --keep folder

Clips, side files, settings, camera labels, masks, generators with their cards, snapshots, directions, caches,
shared stores, results and a watcher's records are damaged or made up, and read by the functions that the
commands call. A case is a process of its own, with limits of time and memory, and is the same for the same
seed and number. `refused`: one line is printed for it, or damage is reported and the rest goes on. `read`:
taken as it is. `tracebacks`: any other exception, a message of pages, a wrong result, or the death of the
process. `hangs`: more seconds than allowed. `over_memory`: more memory than allowed. `outside_writes`: a file
changed that is not the reader's to change, its input included. The exit code is 1 where one of the last four
is not 0.
"""

from __future__ import annotations

import argparse
import collections
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.fuzz_carriers import make_all
from benchmarks.fuzz_runner import HANG, OVER, READ, REFUSED, TRACEBACK, Limits, Outcome, run
from pipeline.machine import machine

WORDS = (REFUSED, READ, TRACEBACK, HANG, OVER)
BAD = (TRACEBACK, HANG, OVER)


def fuzz(numbers: Iterable[int], seed: int, folder: Path, limits: Limits, jobs: int = 2) -> Iterable[Outcome]:
    """Yield the outcomes of these cases; `folder` gets the carriers and the files of cases."""
    making = multiprocessing.get_context("spawn").Process(target=make_all, args=(folder / "carriers",))
    making.start()
    making.join()
    if making.exitcode:
        raise SystemExit("the carriers could not be made")
    import cv2  # loaded here, not in each case
    import scipy.spatial  # noqa: F401
    import torch
    import zarr  # noqa: F401

    from benchmarks.fuzz_cases import carriers_in, player
    from benchmarks.fuzz_loaders import DECLARED, KINDS

    cv2.setNumThreads(1)
    torch.set_num_threads(1)  # a fork of a process whose threads have computed waits for them for ever
    play = player(KINDS, carriers_in(folder / "carriers"), seed)
    return run(numbers, play, folder, limits, jobs, DECLARED)


def summary(outcomes: Sequence[Outcome], seed: int) -> dict[str, Any]:
    """Counts, the same by kind of file, and each distinct fault with the number of a case that shows it."""
    counts = collections.Counter(one.what for one in outcomes)
    kinds: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    faults: dict[tuple[str, ...], dict[str, Any]] = {}
    for one in outcomes:
        kinds[one.kind][one.what] += 1
        what = one.what if one.what in BAD else "outside_writes"
        if one.what in BAD or one.outside:
            name = (what, one.kind, one.where or one.line[:80], one.line.partition(":")[0])
            fault = faults.setdefault(name, {"count": 0, "what": what, **_about(one)})
            fault["count"] += 1
    return {
        "seed": seed,
        "cases": len(outcomes),
        **{word: counts[word] for word in WORDS},
        "outside_writes": sum(bool(one.outside) for one in outcomes),
        "kinds": {name: dict(sorted(found.items())) for name, found in sorted(kinds.items())},
        "faults": sorted(faults.values(), key=lambda fault: -fault["count"]),
    }


def _about(one: Outcome) -> dict[str, Any]:
    about = asdict(one)
    return {name: about[name] for name in ("case", "kind", "recipe", "line", "where", "outside")}


def main() -> int:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000, help="number of cases (1000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, metavar="CASE", help="one case, with all that is known of it")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="an empty folder for the files, which stay")
    parser.add_argument("--seconds", type=float, default=20.0, help="most seconds of a case (20)")
    parser.add_argument("--jobs", type=int, default=2, help="cases at a time (2)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write it there")
    args = parser.parse_args()
    numbers = range(args.cases) if args.only is None else [args.only]
    began, outcomes = time.monotonic(), []
    with tempfile.TemporaryDirectory() as name:
        folder = (args.keep or Path(name)).resolve()
        for one in fuzz(numbers, args.seed, folder, Limits(seconds=args.seconds), args.jobs):
            outcomes.append(one)
            if args.only is not None or one.what in BAD or one.outside:
                said = f"{one.what} {one.line} {one.where} {' '.join(one.outside)} ({one.recipe})"
                print(f"{one.case} {one.kind}: {said}", file=sys.stderr, flush=True)
    if args.only is not None:
        print(outcomes[0].text, file=sys.stderr)
    result = {"machine": machine(), "seconds": round(time.monotonic() - began, 1)}
    result |= summary(outcomes, args.seed)
    text = json.dumps(result, indent=1)
    if args.out is not None:
        args.out.write_text(text + "\n")
    print(
        text
        if args.json
        else " ".join(f"{word} {result[word]}" for word in ("cases", *WORDS, "outside_writes"))
    )
    return int(any(result[word] for word in (*BAD, "outside_writes")))


if __name__ == "__main__":
    sys.exit(main())
