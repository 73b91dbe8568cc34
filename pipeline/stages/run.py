"""What a stage's functions are given: its settings, the results that it needs, the writer, and progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pipeline.errors import UndeclaredReadError
from pipeline.report.manifest import StageTime
from pipeline.stages.facts import Models
from storage import StageResult, StageWriter
from storage.row_blocks import RowBlocks

if TYPE_CHECKING:
    from pipeline.request.settings import Settings

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Valued(Protocol[T_co]):
    """A stage by its name and the type of its value (`pipeline.stages.stage.Stage`)."""

    @property
    def name(self) -> str:
        """Its name in the plan."""

    @property
    def load(self) -> Callable[[Any], T_co]:
        """Its value from its result."""


@dataclass
class Journal:
    """What a job has gathered so far; the report is made of it."""

    times: dict[str, StageTime] = field(default_factory=dict)
    """By kind of stage, in the order of the plan."""
    results: dict[str, StageResult] = field(default_factory=dict)
    """By name of stage."""
    notes: list[str] = field(default_factory=list)
    request: Callable[[], str] = str
    """Makes the digest of the request (`job.finished.request_digest`)."""
    cache_root: Path = Path()
    """Folder of the stage cache."""


@dataclass(frozen=True)
class Hooks:
    """What a stage asks of the walker that runs it."""

    value: Callable[[str], Any]
    """The loaded value of a stage, by name."""
    result: Callable[[str], StageResult]
    """The published result of a stage, by name."""
    progress: Callable[[int, int | None, dict[str, float] | None, str], None]
    """Called with what is done, the total, losses and the unit."""
    note: Callable[[str], None]
    """Tell the user at once, without keeping it for the manifest."""
    share_checkpoint: Callable[[], None]
    """Hand the newest checkpoint to a shared cache."""
    hold: Callable[[Path], Any]
    """Keep a file of the cache's ingest folder from being removed."""
    in_face: Callable[[int], StageRun]
    """The same stage as one of another of the faces asked for, by its place among them."""


@dataclass(frozen=True)
class StageRun:
    """One stage at work. `settings` holds only what the stage declares; names are those without a face."""

    name: str
    needs: tuple[str, ...]
    settings: Settings
    video: Path
    out: Path
    models: Models
    journal: Journal
    hooks: Hooks
    workdir: Path
    """Folder for filtered copies of an input."""
    own: StageResult | None = None
    """The stage's own published result, while it is loaded."""
    open_writer: StageWriter | None = None
    checkpoints: Callable[[], Path] | None = None
    """Makes the folder of the stage's checkpoints, while it computes."""

    @property
    def part(self) -> str:
        """What of its kind the stage is: `removal` of `edit/removal`."""
        return self.name.partition("/")[2]

    @property
    def kind(self) -> str:
        """`edit` of `edit/removal`."""
        return self.name.partition("/")[0]

    @property
    def result(self) -> StageResult:
        """The stage's own published result."""
        if self.own is None:
            raise ValueError(f"stage {self.name} has no result yet")
        return self.own

    @property
    def writer(self) -> StageWriter:
        """Where the stage writes its arrays and files."""
        if self.open_writer is None:
            raise ValueError(f"stage {self.name} is not being computed")
        return self.open_writer

    @property
    def checkpoint_dir(self) -> Path:
        """Folder of checkpoints; the user is told where an earlier run left some."""
        if self.checkpoints is None:
            raise ValueError(f"stage {self.name} is not being computed")
        folder = self.checkpoints()
        if any(folder.iterdir()):
            self.hooks.note(f"{self.kind}: going on from the checkpoint of an earlier run")
        return folder

    def blocks(self) -> RowBlocks:
        """Rows put aside while they are computed, so that a kill costs the last seconds only."""
        return RowBlocks(self.checkpoint_dir)

    # What it needs

    def of(self, stage: Valued[T]) -> T:
        """The value of a stage that this one needs. Raises UndeclaredReadError for any other."""
        self._check(stage.name)
        value: T = self.hooks.value(stage.name)
        return value

    def result_of(self, name: str) -> StageResult:
        """The published result of a stage that this one needs, by name."""
        self._check(name)
        return self.hooks.result(name)

    def needed(self, *names: str) -> str | None:
        """The first of these stages that this one needs; None where it needs none of them."""
        return next((name for name in names if name in self.needs), None)

    def _check(self, name: str) -> None:
        if name not in self.needs:
            raise UndeclaredReadError(f"stage {self.name} reads the result of {name} without declaring it")

    # Progress

    def count(self, done: int, total: int | None) -> None:
        """Progress in frames."""
        self.hooks.progress(done, total, None, f"frames of {self.part}" if self.part else "frames")

    def steps(self, done: int, total: int, losses: dict[str, float]) -> None:
        """Progress in steps of an optimisation; checkpoints are shared with other machines."""
        self.hooks.progress(done, total, losses, "steps")
        self.hooks.share_checkpoint()

    def timed_as(self, kind: str, frames: Iterable[T]) -> Iterator[T]:
        """Pass frames on; the time that making them takes counts as another kind of stage's."""
        source, spent = iter(frames), 0.0
        while True:
            began = time.monotonic()
            frame = next(source, None)
            spent += time.monotonic() - began
            if frame is None:
                break
            yield frame
        times = self.journal.times
        if kind in times:
            times[kind].seconds += spent
            times[self.kind].seconds -= spent
