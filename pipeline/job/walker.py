"""The walker: runs the stages of a plan, each through the cache under its key."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from inverters import threads
from pipeline.job.caches import open_cache
from pipeline.job.costs import CostBook, PeakMemory
from pipeline.job.device_lock import turn_on
from pipeline.job.finished import request_digest
from pipeline.job.oom_retry import OomRetry
from pipeline.job.progress import Progress
from pipeline.report.manifest import StageTime, files_of
from pipeline.report.output_folder import check_own, check_writable
from pipeline.request.checks import definite
from pipeline.request.settings import Settings
from pipeline.stages.facts import Facts, Models
from pipeline.stages.plan import Keys, Plan, plan_of
from pipeline.stages.run import Hooks, Journal, StageRun
from pipeline.stages.stage import Stage, global_name, only
from storage import INGEST, CacheDamagedError, StageResult, StageWriter

_MOST_REPAIRS = 3


def run_job(
    path: Path,
    out: Path,
    cache: Path | str,
    settings: Settings,
    progress: Progress | None = None,
    plan: Plan | None = None,
) -> dict[str, Any]:
    """Run every stage on one video; results are in `out` when this returns the manifest.

    plan: in place of the one that the settings make (`plan_of`), such as one with more stages.
    Raises UserError for a request or an input that cannot be met; then nothing is left in `out`.
    """
    return Job(path, out, cache, settings, progress or Progress(), plan).run()


def _seen_in(stage: Stage[Any], place: int) -> Stage[Any]:
    """A stage of all faces as one of the face at this place: it needs what it needs of that face."""
    mine = [
        n for n in stage.needs if n == "decode" or n.endswith(f"@{place}") or (place == 0 and "@" not in n)
    ]
    return replace(stage, needs=tuple(mine), face=place)


class Job:
    """The state of one job: `run()` runs all stages, `step(kind)` those of one kind, in the plan's order.

    threads: cores that the job may use; None takes OMP_NUM_THREADS, or all. Results depend on the number.
    Raises OutputError where `out` cannot be written.
    """

    def __init__(
        self,
        path: Path,
        out: Path,
        cache: Path | str,
        settings: Settings,
        progress: Progress,
        plan: Plan | None = None,
        threads: int | None = None,
    ) -> None:
        settings = definite(settings, path)
        self.path, self.out, self.settings, self.progress = path, out, settings, progress
        self.threads = threads
        self.plan = plan or plan_of(settings)
        check_writable(out)  # not writable: say so before any work
        check_own(out, self.plan.output_names, files_of(out))
        self.journal = Journal()
        self.cache = open_cache(cache, self.note, path.name)
        self.journal.cache_root = self.cache.root
        self.journal.request = lambda: request_digest(path, settings, self.plan)
        self.models = Models(settings, self.note, self.cache.root)
        self.keys = Keys(self.plan, Facts(path, settings, self.models))
        self.current = ""
        self._values: dict[str, Any] = {}
        self._hits: list[bool] = []
        self._held: list[Any] = []
        self._costs, self._peak = CostBook(self.cache.root), PeakMemory()

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest, once the stage `report` has run."""
        found: dict[str, Any] = self.value("report")
        return found

    def run(self) -> dict[str, Any]:
        """All stages; returns the manifest."""
        self.progress.plan(self.plan.kinds)
        for kind in self.plan.kinds:
            self.step(kind)
        return self.manifest

    def step(self, kind: str) -> None:
        """The stages of one kind. What they find damaged in the cache is dropped and computed again."""
        kinds: tuple[str, ...] = (kind,)
        repairs = 0
        while True:
            try:
                for each in kinds:
                    self._walk(each)
                return
            except CacheDamagedError as error:
                repairs += 1
                if repairs > _MOST_REPAIRS:
                    raise
                self.cache.discard(error)
                self._values.clear()
                # Earlier stages run again: what was discarded may be one of theirs, and more may be damaged.
                kinds = self.plan.kinds[: self.plan.kinds.index(kind) + 1]

    def value(self, name: str) -> Any:
        """The value of a stage that has run, loaded when it is first asked for."""
        if name not in self._values:
            stage = self.plan[name]
            own = self.journal.results.get(name)
            self._values[name] = stage.load(self._run_of(stage, own=own))
        return self._values[name]

    def note(self, text: str) -> None:
        """Tell the user now, and in the manifest."""
        if text not in self.journal.notes:
            self.journal.notes.append(text)
            self.progress.note(text)

    # One kind, one stage

    def _walk(self, kind: str) -> None:
        self.current, self._hits = kind, []
        if not self.journal.times:
            _ = self.models.directions  # an edit that is not known is named before any stage
        self.progress.start(kind)
        began = time.monotonic()
        spent = self.journal.times[kind] = StageTime(kind, 0.0, False)
        threads.use(self.threads)
        for stage in self.plan.of_kind(kind):
            self._values.pop(stage.name, None)
            if stage.compute is None:
                self._loaded(stage)
            else:
                self.journal.results[stage.name] = self._cached(stage, stage.compute)
            for text in stage.notes(self._run_of(stage)):
                self.note(text)
        spent.seconds += time.monotonic() - began
        spent.cached = bool(self._hits) and all(self._hits)
        self.progress.finish(kind, spent.seconds, spent.cached)

    def _loaded(self, stage: Stage[Any]) -> None:
        """Run a stage of which nothing is cached."""
        began, self._peak = time.monotonic(), PeakMemory()
        self.value(stage.name)
        self._note_cost(stage, time.monotonic() - began)

    def _note_cost(self, stage: Stage[Any], seconds: float) -> None:
        frames = len(self.value("decode"))
        self._costs.add(stage, self.settings, self.models.device, frames, seconds, self._peak.mib)

    def _progress(self, done: int, total: int | None, losses: dict[str, float] | None, unit: str) -> None:
        self._peak.sample()
        self.progress.update(done, total, losses, unit)

    def _cached(self, stage: Stage[Any], compute: Callable[[StageRun], None]) -> StageResult:
        """The stage's result, from the cache or computed now."""
        key = self.keys[stage.name]
        found = self.cache.get(key)
        hit = found is not None
        while found is None:
            with self.cache.begin(key, self._wait) as writer:
                found = self.cache.get(key)  # it may have come while we waited
                hit = found is not None
                if found is None:
                    with self._turn(stage):
                        found = self._computed(stage, compute, writer)
        self._hits.append(hit)
        return found

    def _computed(
        self, stage: Stage[Any], compute: Callable[[StageRun], None], writer: StageWriter
    ) -> StageResult | None:
        """The published result; None where memory did not suffice and the stage is to run again with less."""
        run = self._run_of(stage, writer=writer)
        began, self._peak = time.monotonic(), PeakMemory()
        if not self._oom_retry.runs(lambda: compute(run)):
            return None
        result = writer.publish()
        self._note_cost(stage, time.monotonic() - began)
        return result

    def _run_of(
        self, stage: Stage[Any], own: StageResult | None = None, writer: StageWriter | None = None
    ) -> StageRun:
        place = stage.face or 0
        hooks = Hooks(
            value=lambda name: self.value(self._name_in(name, place)),
            result=lambda name: self.journal.results[self._name_in(name, place)],
            in_face=lambda other: self._run_of(_seen_in(stage, other)),
            progress=self._progress,
            note=self.progress.note,
            share_checkpoint=lambda: self.cache.share_checkpoint(self.keys[stage.name]),
            hold=lambda path: self._held.append(self.cache.hold(path)),
        )
        return StageRun(
            name=stage.local_name,
            needs=tuple(name.removesuffix(f"@{place}") for name in stage.needs),
            settings=only(self.settings, stage),
            video=self.path,
            out=self.out,
            models=self.models,
            journal=self.journal,
            hooks=hooks,
            workdir=self.cache.root / INGEST,
            own=own,
            open_writer=writer,
            checkpoints=None if writer is None else lambda: self.cache.checkpoint_dir(writer.key),
        )

    def _name_in(self, name: str, place: int) -> str:
        """The name in the plan of a stage as a stage of the face at this place calls it."""
        own = global_name(name, place)
        return own if any(stage.name == own for stage in self.plan) else name

    @cached_property
    def _oom_retry(self) -> OomRetry:
        return OomRetry(self.models.device, self.note)

    def _turn(self, stage: Stage[Any]) -> AbstractContextManager[None]:
        """The device for this job alone, for stages that use it."""
        if not stage.on_device:
            return nullcontext()
        device = self.models.device
        note = f"{device} is used by another job; waiting for its turn"
        return turn_on(device, lambda: self.progress.note(note))

    def _wait(self) -> None:
        self.progress.note("another job is computing the same; waiting for its result")
