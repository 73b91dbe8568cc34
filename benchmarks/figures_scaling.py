"""The figures of docs/scaling.md, from results/stages.json, overhead.json and scaling.json."""

from __future__ import annotations

from typing import Any

from benchmarks.markdown import measured_on, number, paragraphs, prose, share, table


def scaling(results: dict[str, Any]) -> list[str]:
    """The whole section."""
    return paragraphs(
        measured_on(results, "stages", "overhead"),
        costs(results["stages"]),
        overhead(results["overhead"]),
        scenes(results["scaling"]),
    )


def costs(found: dict[str, Any]) -> list[str]:
    """Costs of a job by its stages and its length."""
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
    return paragraphs(
        prose(
            f"Whole jobs on clips of {lengths} frames, preset `draft`, one edit and the occluder removed "
            "(`python -m benchmarks.scaling measure`). A line through the lengths gives the seconds for each "
            "job and for each frame; the last column follows from them, for 24 frames a second:"
        ),
        table(["stage", "each job", "each frame", "a minute of video"], rows),
    )


def overhead(found: dict[str, Any]) -> list[str]:
    """The overhead of Prefect."""
    seconds, queue = found["seconds"], found["queue"]
    return prose(
        "Overhead of Prefect (`python -m benchmarks.overhead`), measured with a job whose heavy stages are "
        f"in the cache: the command takes {number(seconds['command'], 1)} s, the same job as a run "
        f"{number(seconds['run'], 1)} s from pick-up to end, of which "
        f"{number(1000 * seconds['a_stage'], 0)} ms for each stage. With {queue['runs']:,} runs in the queue "
        f"a worker's poll takes {number(queue['ask_ms'], 0)} ms, and "
        f"{number(queue['submitted_a_second'], 0)} runs a second can be submitted (SQLite, one client)."
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
        "failures",
        "takes",
        "workers busy",
        "runs that died",
        "work lost in each",
        "work lost",
        "done",
    ]
    head += ["refused", "given up", "of those, valid"]
    workers = found["machines"] * found["workers_a_machine"]
    return paragraphs(
        prose(
            f"{found['clips']:,} clips on {workers} workers on {found['machines']} machines, simulated "
            "(`python -m benchmarks.scaling simulate`; the median of three):"
        ),
        table(head, rows),
    )
