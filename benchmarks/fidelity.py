"""Every inversion method on the same clips, compared with the truth: `invid bench fidelity` as a script.

    python -m benchmarks.fidelity --json > benchmarks/results/fidelity.json
    python -m benchmarks.fidelity --join first.json second.json --out benchmarks/results/fidelity.json

The second command makes one table of several sittings, each with clips or methods of its own. A run that two
of them have is that of the later file. Sittings of other generators, presets or networks are refused.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import report
from inverters.people.occluders import OCCLUDERS
from pipeline.commands.__main__ import main
from pipeline.fidelity.methods import BENCH_METHODS
from pipeline.fidelity.table import means

_ALIKE = ("format", "options", "lpips", "identity", "jobs", "threads")


def joined(sittings: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One table of several results of the benchmark. Raises ValueError for those that differ in kind.

    Its machine is that of the last one; `sittings` has the machine and the clips of each.
    """
    last = sittings[-1]
    for name in _ALIKE:
        if any(sitting[name] != last[name] for sitting in sittings):
            raise ValueError(f"{name}: not the same in all files")
    if len({row["generator"] for sitting in sittings for row in sitting["clips"]}) > 1:
        raise ValueError("generator: not the same in all files")
    order = [method.name for method in BENCH_METHODS]
    found = {(row["clip"], row["method"]): row for sitting in sittings for row in sitting["clips"]}

    def place(row: dict[str, Any]) -> tuple[int, str, int]:
        return (list(OCCLUDERS).index(row["occluder"]), row["clip"], order.index(row["method"]))

    rows = sorted(found.values(), key=place)
    parts = [(s["machine"], sorted({row["clip"] for row in s["clips"]})) for s in sittings]
    return last | {
        "rows": means(rows, order),
        "clips": rows,
        "failed": [line for sitting in sittings for line in sitting["failed"]],
        "sittings": [{"machine": machine, "clips": clips} for machine, clips in parts],
    }


def _join(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--join", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument("--out", type=Path, metavar="FILE")
    args = parser.parse_args(words)
    try:
        report(joined([json.loads(path.read_text()) for path in args.join]), args.out)
    except ValueError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    given = sys.argv[1:]
    raise SystemExit(_join(given) if "--join" in given else main(["bench", "fidelity", *given]))
