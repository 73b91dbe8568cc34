"""The figures of docs/running.md, from results/service.json, databases.json and restarts.json."""

from __future__ import annotations

from typing import Any

from benchmarks.markdown import measured_on, number, paragraphs, prose, share, table


def service(results: dict[str, Any]) -> list[str]:
    """The whole section."""
    return paragraphs(
        measured_on(results, "service", "restarts"),
        idle(results["service"]),
        databases(results["databases"]["batches"]),
        restarts(results["restarts"]),
    )


def idle(found: dict[str, Any]) -> list[str]:
    """What a service costs without work, and how soon it begins."""
    whole, server = (number(part, 1) for part in (found["idle_percent_of_a_core"], found["parts"]["server"]))
    return prose(
        f"A service with nothing to do takes {whole} % of a core, Prefect's server alone {server} % (workers "
        f"for clips: {found['workers']}). From a request to the start of the first stage it takes "
        f"{number(found['first_stage_s'], 1)} s (median of {len(found['runs'])} runs, "
        "`python -m benchmarks.service`)."
    )


def databases(batches: list[dict[str, Any]]) -> list[str]:
    """SQLite beside Postgres."""
    rows = [
        [
            f"{batch['clips']}, {batch['workers']}",
            name,
            number(batch[key]["seconds"], 0, " s"),
            number(batch[key]["first_s"], 0, " s"),
            str(batch[key]["locked"]),
            str(batch[key]["lost"]),
            str(batch[key]["done_twice"]),
            share(batch[key]["others_busy"]),
        ]
        for batch in batches
        for key, name in (("sqlite", "SQLite"), ("postgres", f"Postgres {batch['postgres']['version']}"))
    ]
    head = ["clips, workers", "database", "all done after", "first begun after"]
    head += ['"database is locked"', "lost", "done twice", "cores in use by others"]
    return paragraphs(
        prose(
            "Clips of two frames, submitted at once (`python -m benchmarks.databases --clips N --workers M`):"
        ),
        table(head, rows),
    )


def restarts(found: dict[str, Any]) -> list[str]:
    """Stops and kills at random."""
    events = ", ".join(f"{name} {count}" for name, count in sorted(found["events"].items()))
    words = f"--rounds {found['rounds']} --seed {found['seed']}"
    return prose(
        f"Stops and kills at random (`python -m benchmarks.restarts {words}`): "
        f"{found['rounds']} events ({events}), {found['runs']} runs, {found['lost']} lost, "
        f"{found['done_twice']} done twice; the longest wait for a new start was "
        f"{number(found['longest_wait_s'], 0)} s."
    )
