"""Queues of the pool for clips, by priority: workers take from a later one when those before it are empty.

A deployment of prefect.yaml names the queue of its runs; `process-video/urgent` is one that goes first.

    python -m flows.queues       sets them at PREFECT_API_URL; `invid serve` does so itself
"""

from __future__ import annotations

import sys

from flows.api import Api, Ask
from flows.sweep import POOL
from pipeline.commands.guard import guarded

QUEUES = ("urgent", "default", "background")


def set_priorities(ask: Ask) -> None:
    """Give the queues of QUEUES the priorities 1, 2, 3; those that are missing are created."""
    there = {
        found["name"]: found["priority"] for found in ask("POST", f"work_pools/{POOL}/queues/filter", {})
    }
    for priority, name in enumerate(QUEUES, 1):
        if name not in there:
            ask("POST", f"work_pools/{POOL}/queues", {"name": name, "priority": priority})
        elif there[name] != priority:
            ask("PATCH", f"work_pools/{POOL}/queues/{name}", {"priority": priority})


def main() -> int:
    """The command; returns its exit code."""
    set_priorities(Api.of_environment().ask)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
