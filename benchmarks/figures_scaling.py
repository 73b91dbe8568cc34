"""What docs/scaling.md shows of results/stages.json, overhead.json and scaling.json."""

from __future__ import annotations

from typing import Any

from benchmarks.markdown import measured_on, number, prose, share, table


def scaling(results: dict[str, Any]) -> list[str]:
    """The whole section."""
    return [
        *measured_on(results, "stages", "overhead"),
        "",
        *costs(results["stages"]),
        "",
        *overhead(results["overhead"]),
        "",
        *scenes(results["scaling"]),
    ]


def costs(found: dict[str, Any]) -> list[str]:
    """What a job costs, by its stages and its length."""
    minute, rows = 60 * 24, []
    lines = found["line"] | {
        "whole job": {key: sum(line[key] for line in found["line"].values()) for key in ("job", "frame")}
    }
    for name, line in lines.items():
        seconds = line["job"] + minute * line["frame"]
        rows.append(
            [name, number(line["job"], 1, " s"), number(line["frame"], 3, " s"), number(seconds, 0, " s")]
        )
    lengths = ", ".join(str(frames) for frames in found["frames"])
    return [
        *prose(
            f"Whole jobs on clips of {lengths} frames, preset `draft`, one edit and the occluder taken off "
            "(`python -m benchmarks.scaling measure`); the last column follows from the two before it, for "
            "24 frames a second:"
        ),
        "",
        *table(["stage", "a job", "a frame", "a minute of video"], rows),
    ]


def overhead(found: dict[str, Any]) -> list[str]:
    """What Prefect adds."""
    seconds, queue = found["seconds"], found["queue"]
    return prose(
        "What Prefect adds (`python -m benchmarks.overhead`), measured with a job whose heavy stages are in "
        f"the cache: the command takes {number(seconds['command'], 1)} s, the same as a run "
        f"{number(seconds['run'], 1)} s from its pick-up to its end; {number(1000 * seconds['a_stage'], 0)} "
        f"ms of it for each stage. With {queue['runs']:,} runs in the queue a worker's question for work "
        f"takes {number(queue['ask_ms'], 0)} ms, and {number(queue['submitted_a_second'], 0)} runs a second "
        "can be submitted (SQLite, one client)."
    )


def scenes(found: dict[str, Any]) -> list[str]:
    """The simulation."""
    rows = [
        [
            name,
            number(one["hours"], 1, " h"),
            share(one["busy_share"]),
            str(round(one["deaths"])),
            number(one["lost_a_death"], 1, " s"),
            share(one["lost_share"]),
            f"{round(one['done']):,}",
            f"{round(one['refused']):,}",
            str(round(one["given_up"])),
            str(round(one["good_given_up"])),
        ]
        for name, one in found["scenes"].items()
    ]
    head = [
        "what goes wrong",
        "takes",
        "workers busy",
        "runs that died",
        "work lost, each",
        "work lost",
        "done",
    ]
    head += ["refused", "given up", "of those, good ones"]
    workers = found["machines"] * found["workers_a_machine"]
    return [
        *prose(
            f"{found['clips']:,} clips on {workers} workers on {found['machines']} machines, simulated "
            "(`python -m benchmarks.scaling simulate`; the middle of three):"
        ),
        "",
        *table(head, rows),
    ]
