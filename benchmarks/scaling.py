"""Many clips on many machines: measured costs of a job, and a simulation of 10,000 jobs.

    python -m benchmarks.scaling measure [--out FILE]     stage times of three clips of 1, 2 and 4 seconds
    python -m benchmarks.scaling simulate [--out FILE]    from those, and from results/overhead.json

`measure` runs whole jobs (preset draft, the mask sample forwards and backwards), each twice with one cache. A
line through the three lengths gives the seconds of each stage for each job and for each frame. The second run
gives the cost of a cached stage.

`simulate` is a discrete-event simulation. Its clips have those stage times and random lengths. Its workers
poll, start, keep checkpoints and die as ours do (the numbers of `Rules`, each measured or set in this
project), and the clip of a dead worker is taken up as by the sweep. The scheduler does not know how
long a clip takes.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
from collections import deque
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import av
import numpy as np

from benchmarks.report import report
from pipeline.machine import machine

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
FPS = 24
RESUMED = ("invert", "finetune", "edit")
"""Stages that keep checkpoints; any other is done again from its start."""
HOUR, DAY = 3600.0, 86400.0


# Measuring


def clip_of(path: Path, count: int) -> Path:
    """The mask sample, forwards and backwards until there are `count` frames."""
    with av.open(str(ROOT / "samples/mask.mp4")) as source:
        frames = [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]
    with av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=FPS, options={"crf": "17"})
        stream.width, stream.height, stream.pix_fmt = frames[0].shape[1], frames[0].shape[0], "yuv420p"
        for picture in itertools.islice(itertools.cycle([*frames, *frames[-2:0:-1]]), count):
            target.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        target.mux(stream.encode())
    return path


def job(video: Path, out: Path, cache: Path) -> dict[str, float]:
    """Seconds of each stage of one `process-video`."""
    command = [sys.executable, "-m", "pipeline.commands", "process", str(video), "--out", str(out)]
    words = [
        "--cache",
        str(cache),
        "--preset",
        "draft",
        "--edit",
        "smile=1.5",
        "--remove-occluder",
        "--quiet",
    ]
    subprocess.run([*command, *words], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    stages = json.loads((out / "manifest.json").read_text())["stages"]
    return {stage["name"]: stage["seconds"] for stage in stages}


def measure() -> dict[str, Any]:
    """Stage times of three lengths, and the lines through them."""
    frames: list[int] = []
    fresh: list[dict[str, float]] = []
    again: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seconds in (1, 2, 4):
            video = clip_of(folder / f"{seconds}.mp4", seconds * FPS)
            frames.append(seconds * FPS)
            for times, out in ((fresh, "fresh"), (again, "again")):
                times.append(job(video, folder / f"{out}{seconds}", folder / f"cache{seconds}"))
    lines = {name: line(frames, [t[name] for t in fresh]) for name in fresh[0]}
    cached = {name: line(frames, [t[name] for t in again]) for name in again[0]}
    return {"frames": frames, "seconds": fresh, "again": again, "line": lines, "cached": cached}


def line(frames: list[int], seconds: list[float]) -> dict[str, float]:
    """Least squares: seconds a job and seconds a frame, neither below zero."""
    slope, start = np.polyfit(frames, seconds, 1)
    slope = max(slope, 0.0)
    return {"job": round(max(float(start), 0.0), 3), "frame": round(float(slope), 5)}


# Simulating


@dataclass(frozen=True)
class Rules:
    """How workers and the sweep behave, in seconds."""

    poll: float = 3.0  # PREFECT_WORKER_QUERY_SECONDS of `invid serve`
    start: float = 5.0  # from pick-up to the first stage
    checkpoint: float = 20.0  # inverters.fitting.loop.CHECKPOINT_SECONDS
    heartbeat: float = 30.0  # PREFECT_FLOWS_HEARTBEAT_FREQUENCY
    silence: float = 105.0  # flows.sweep: 90 s without a heartbeat, and half the time between two looks
    take_up: float = 35.0  # flows.sweep: a crashed run rests for 20 s, and half the time between two looks
    lease: float = 60.0  # storage.shared.LEASE: a dead machine's claims
    most_runs: int = 3  # flows.sweep.LIVES


@dataclass(frozen=True)
class Troubles:
    """What goes wrong, as mean times between events; 0 for never."""

    kill: float = 0.0  # of work, until a run's process is killed
    death: float = 0.0  # of a machine, until it dies
    down: float = 600.0  # until a dead machine is back
    restart: float = 0.0  # of a machine, until its workers are stopped and started
    server: float = 0.0  # of the server, until it goes down
    server_down: float = 60.0
    bad: float = 0.0  # share of clips that no run can read
    poison: float = 0.0  # share of clips that kill their process in the inversion


SCENES = {
    "nothing goes wrong": Troubles(),
    "as in a lab": Troubles(24 * HOUR, 7 * DAY, 600, DAY, DAY, 60, 0.01, 0.001),
    "ten times that": Troubles(2.4 * HOUR, 0.7 * DAY, 600, DAY / 10, DAY / 10, 60, 0.1, 0.01),
}


@dataclass
class Clip:
    """One clip: stages as (end of the stage on the clip's own clock, whether it keeps checkpoints)."""

    ends: list[float]
    resumed: list[bool]
    cached: float
    fate: str = ""  # bad, poison
    saved: float = 0.0
    lives: int = 0
    lost: float = 0.0
    outcome: str = ""
    finished: float = 0.0

    @property
    def work(self) -> float:
        """Seconds of the whole job."""
        return self.ends[-1]

    def keep(self, position: float, checkpoint: float) -> float:
        """A life ended at `position`: what of it stays; returns what is lost."""
        kept, begin = self.saved, 0.0
        for end, resumed in zip(self.ends, self.resumed, strict=True):
            if position >= end:
                kept = max(kept, end)
            elif position > begin and resumed:
                first = max(begin, self.saved)
                kept = max(kept, first + (position - first) // checkpoint * checkpoint)
            begin = end
        lost, self.saved = position - kept, kept
        self.lost += lost
        return lost


@dataclass
class Farm:
    """Machines with workers, a queue, a server; `run()` works until every clip has an outcome."""

    clips: list[Clip]
    machines: int
    workers: int
    rules: Rules
    troubles: Troubles
    seed: int = 0
    now: float = 0.0
    busy: float = 0.0
    most_lost: float = 0.0
    deaths: int = 0
    _events: list[tuple[float, int, str, int, int]] = field(default_factory=list)

    def run(self) -> dict[str, float]:
        """The figures of one simulation."""
        self._rng = np.random.default_rng(self.seed)
        self._order = itertools.count()
        self._queue = deque(range(len(self.clips)))
        self._at: dict[int, tuple[int, float, float]] = {}  # worker: clip, when work began, until when
        self._token = [0] * (self.machines * self.workers)
        self._up = [True] * self.machines
        self._idle: set[int] = set()
        self._open_at = 0.0  # the server answers from then on
        left = len(self.clips)
        for worker in range(self.machines * self.workers):
            self._put(self._rng.uniform(0, self.rules.poll), "free", worker, 0)
        for kind, mean in (("death", self.troubles.death), ("restart", self.troubles.restart)):
            for number in range(self.machines if mean else 0):
                self._put(self._rng.exponential(mean), kind, number)
        if self.troubles.server:
            self._put(self._rng.exponential(self.troubles.server), "server", 0)
        while left:
            self.now, _, kind, number, token = heapq.heappop(self._events)
            left -= getattr(self, f"_{kind}")(number, token) or 0
        total = [clip.work for clip in self.clips if clip.outcome == "done"]
        wall = max(clip.finished for clip in self.clips)
        outcomes = [clip.outcome for clip in self.clips]
        return {
            "hours": round(wall / HOUR, 2),
            "busy_share": round(self.busy / (wall * self.machines * self.workers), 4),
            "work_hours": round(sum(total) / HOUR, 1),
            "lost_share": round(sum(clip.lost for clip in self.clips) / sum(total), 6),
            "deaths": self.deaths,
            "lost_a_death": round(sum(c.lost for c in self.clips) / max(self.deaths, 1), 2),
            "most_lost": round(self.most_lost, 2),
            "done": outcomes.count("done"),
            "refused": outcomes.count("refused"),
            "given_up": outcomes.count("given up"),
            "good_given_up": sum(c.outcome == "given up" and not c.fate for c in self.clips),
        }

    def _put(self, when: float, kind: str, number: int, token: int = 0) -> None:
        heapq.heappush(self._events, (when, next(self._order), kind, number, token))

    # Events; each returns how many clips have come to their end

    def _free(self, worker: int, token: int) -> int:
        """A worker asks for work."""
        if token != self._token[worker] or not self._up[worker // self.workers]:
            return 0
        if self.now < self._open_at:
            self._put(self._open_at + self._rng.uniform(0, self.rules.poll), "free", worker, token)
            return 0
        if not self._queue:
            self._idle.add(worker)
            return 0
        number = self._queue.popleft()
        clip = self.clips[number]
        clip.lives += 1
        if clip.lives > self.rules.most_runs:
            self._put(self.now + self.rules.start, "free", worker, token)
            return self._end(clip, "given up")
        began = self.now + self.rules.start + (clip.cached if clip.lives > 1 else 0.0)
        until = began + clip.work - clip.saved
        if clip.fate == "bad":
            until = began
        killed = self._rng.exponential(self.troubles.kill) if self.troubles.kill else np.inf
        if clip.fate == "poison":
            killed = max(0.0, clip.ends[4] - clip.saved) + self.rules.start
        self._at[worker] = number, began, self.now
        if self.now + killed < until:
            self._put(self.now + killed, "kill", worker, token)
        else:
            self._put(until, "finish", worker, token)
        return 0

    def _finish(self, worker: int, token: int) -> int:
        if token != self._token[worker]:
            return 0
        number, _, since = self._at.pop(worker)
        self.busy += self.now - since
        told = max(self.now, self._open_at)
        self._put(told + self._rng.uniform(0, self.rules.poll), "free", worker, token)
        clip = self.clips[number]
        return self._end(clip, "refused" if clip.fate == "bad" else "done")

    def _kill(self, worker: int, token: int) -> None:
        """A run's process dies; its worker lives, and reports it."""
        if token != self._token[worker]:
            return
        number = self._stop(worker)
        # The worker sees it within 2 s; on another machine the claim of the dead must first run out.
        wait = max(2.0 + self.rules.take_up, self.rules.lease - self._rng.uniform(0, self.rules.lease / 4))
        self._again(number, wait)
        self._put(self.now + self._rng.uniform(0, self.rules.poll), "free", worker, token)

    def _death(self, number: int, _: int) -> None:
        """A machine dies, with all that runs on it, and comes back."""
        if self._up[number]:
            self._up[number] = False
            self._silence(number)
            self._put(self.now + self.troubles.down, "back", number)
        self._put(self.now + self._rng.exponential(self.troubles.death), "death", number)

    def _restart(self, number: int, _: int) -> None:
        """A machine's workers are stopped and started; their runs die with them and stay Running."""
        if self._up[number]:
            self._silence(number)
            self._wake(number, 10.0)
        self._put(self.now + self._rng.exponential(self.troubles.restart), "restart", number)

    def _back(self, number: int, _: int) -> None:
        self._up[number] = True
        self._wake(number, 10.0)

    def _server(self, _: int, __: int) -> None:
        self._open_at = self.now + self.troubles.server_down
        self._put(self._open_at + self._rng.exponential(self.troubles.server), "server", 0)

    def _queued(self, number: int, _: int) -> None:
        self._queue.appendleft(number)
        if self._idle:
            worker = self._idle.pop()
            self._put(self.now + self._rng.uniform(0, self.rules.poll), "free", worker, self._token[worker])

    # What they share

    def _stop(self, worker: int) -> int:
        number, began, since = self._at.pop(worker)
        self.busy += self.now - since
        self.deaths += 1
        clip = self.clips[number]
        lost = clip.keep(clip.saved + max(0.0, self.now - began), self.rules.checkpoint)
        self.most_lost = max(self.most_lost, lost)
        return number

    def _silence(self, number: int) -> None:
        """All runs of a machine die, and nobody says so."""
        for worker in range(number * self.workers, (number + 1) * self.workers):
            self._token[worker] += 1
            self._idle.discard(worker)
            if worker in self._at:
                last = self._rng.uniform(0, self.rules.heartbeat)
                self._again(self._stop(worker), self.rules.silence - last + self.rules.take_up)

    def _wake(self, number: int, seconds: float) -> None:
        for worker in range(number * self.workers, (number + 1) * self.workers):
            self._put(self.now + seconds, "free", worker, self._token[worker])

    def _again(self, number: int, wait: float) -> None:
        self._put(max(self.now, self._open_at) + wait, "queued", number)

    def _end(self, clip: Clip, outcome: str) -> int:
        clip.outcome, clip.finished = outcome, self.now
        return 1


def clips_of(count: int, lines: dict[str, Any], troubles: Troubles, seed: int) -> list[Clip]:
    """Clips of random lengths: log-normal about 10 s, from 1 to 120."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(np.log(10), 0.8, count), 1, 120) * FPS
    fates = rng.choice(
        ["bad", "poison", ""], count, p=[troubles.bad, troubles.poison, 1 - troubles.bad - troubles.poison]
    )
    found = []
    for frames, fate in zip(lengths, fates, strict=True):
        seconds = [line["job"] + line["frame"] * frames for line in lines["line"].values()]
        cached = sum(line["job"] + line["frame"] * frames for line in lines["cached"].values())
        ends = [float(end) for end in np.cumsum(seconds)]
        found.append(Clip(ends, [name in RESUMED for name in lines["line"]], cached, str(fate)))
    return found


def simulate(lines: dict[str, Any], start: float, count: int, machines: int, workers: int) -> dict[str, Any]:
    """All scenes, three times each; the middle of each figure."""
    rules = replace(Rules(), start=start)
    found: dict[str, Any] = {}
    for name, troubles in SCENES.items():
        runs = []
        for seed in range(3):
            farm = Farm(clips_of(count, lines, troubles, seed), machines, workers, rules, troubles, seed)
            runs.append(farm.run())
        found[name] = {key: statistics.median([run[key] for run in runs]) for key in runs[0]}
    shown = {name: asdict(troubles) for name, troubles in SCENES.items()}
    return {"rules": asdict(rules), "troubles": shown, "clips": count, "machines": machines,
            "workers_a_machine": workers, "scenes": found}  # fmt: skip


def main() -> None:
    """Measure or simulate, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("measure", "simulate"))
    parser.add_argument("--clips", type=int, default=10000)
    parser.add_argument("--machines", type=int, default=25)
    parser.add_argument("--workers", type=int, default=4, help="on each machine (4)")
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    if args.what == "measure":
        report({"machine": machine()} | measure(), args.out)
        return
    measured = json.loads((RESULTS / "stages.json").read_text())
    overhead = json.loads((RESULTS / "overhead.json").read_text())["seconds"]
    start = overhead["run"] - overhead["stages"]
    found = simulate(measured, start, args.clips, args.machines, args.workers)
    report({"machine": machine(), "stages": "results/stages.json"} | found, args.out)


if __name__ == "__main__":
    main()
