"""What stages cost on this machine: seconds and memory, kept as jobs run, for estimates of later ones."""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from inverters.generators.small_files import parse_json
from pipeline.request.settings import Settings
from pipeline.stages.stage import Stage
from storage.files import open_regular, read_bounded, replacing

_MOST_LINES = 2000
"""Lines kept; older ones go."""
_MOST_BYTES = 1 << 26
_MOST = 1e12
"""Of seconds, MiB and units; more is damage."""
_READ_BY = {
    "invert": ("generator", "invert.method", "invert.preset", "invert.space", "invert.start"),
    "start": ("generator", "invert.start"),
    "finetune": ("generator", "invert.preset", "finetune.steps"),
    "stitch": ("generator", "composite.stitch", "invert.preset"),
    "encode": ("encode.codec",),
    "track": ("track.detector",),
}
"""Settings that the cost of a kind of stage depends on; the generator for all others."""


@dataclass(frozen=True)
class Cost:
    """What computing one stage took."""

    like: str
    """What stages must have in common to cost the same: kind, machine, device, settings."""
    units: int
    """What seconds grow with: see `units_of`."""
    seconds: float
    mib: float
    """Most resident memory of the process meanwhile, in MiB."""


@dataclass(frozen=True)
class Estimate:
    """What a stage is expected to take, from `runs` earlier ones."""

    seconds: float
    mib: float
    runs: int


class PeakMemory:
    """Resident memory of this process since this value was made, at its highest.

    Exact where it passed all that was held before; else the highest of the samples. The kernel's high-water
    mark is not set back, since `/usr/bin/time` and others read it.
    """

    def __init__(self) -> None:
        self._before, self._sampled = _resident("VmHWM"), 0.0
        self.sample()

    def sample(self) -> None:
        """Take note of what is held now."""
        self._sampled = max(self._sampled, _resident("VmRSS"))

    @property
    def mib(self) -> float:
        """In MiB; without Linux's /proc the most since the process began."""
        self.sample()
        now = _resident("VmHWM")
        return now if now > self._before else self._sampled


def _resident(name: str) -> float:
    """MiB by a line of /proc/self/status: VmRSS (now) or VmHWM (the most so far)."""
    try:
        return int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0]) / 1024
    except (OSError, IndexError, ValueError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class CostBook:
    """Costs of computed stages, a line of JSON each in one file in the folder of a cache.

    A damaged line, or a file that cannot be written, costs the estimate alone.
    """

    def __init__(self, cache: Path) -> None:
        self.path = cache / "costs.jsonl"

    def add(
        self, stage: Stage[Any], settings: Settings, device: str, frames: int, seconds: float, mib: float
    ) -> None:
        """Note what a stage took for a clip of so many frames."""
        units = units_of(stage, settings, frames)
        cost = Cost(like(stage, settings, device), units, round(seconds, 3), round(mib, 1))
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.exists() and self.path.stat().st_size > _MOST_LINES * 200:
                kept = self._lines()[-_MOST_LINES // 2 :]
                with replacing(self.path) as side:
                    side.write_text("".join(f"{line}\n" for line in kept))
            with os.fdopen(open_regular(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "w") as file:
                file.write(json.dumps(asdict(cost)) + "\n")

    def read(self) -> list[Cost]:
        """All costs, oldest first."""
        found: list[Cost] = []
        with contextlib.suppress(OSError):
            for line in self._lines():
                with contextlib.suppress(ValueError, TypeError):
                    found.append(_checked(Cost(**parse_json(line))))
        return found

    def _lines(self) -> list[str]:
        return read_bounded(self.path, _MOST_BYTES).decode(errors="replace").splitlines()


def _checked(cost: Cost) -> Cost:
    """A cost as it was written. Raises ValueError or TypeError for one whose values make no sense."""
    numbers = cost.units, cost.seconds, cost.mib
    if not isinstance(cost.like, str) or not all(0 <= float(number) < _MOST for number in numbers):
        raise ValueError("no cost of a stage")
    return cost


def like(stage: Stage[Any], settings: Settings, device: str) -> str:
    """What a stage's cost depends on, as one text."""
    values = []
    for name in _READ_BY.get(stage.kind, ("generator",)):
        value: Any = settings
        for part in name.split("."):
            value = getattr(value, part)
        values.append(str(value))
    where = device if stage.on_device else "cpu"
    return " ".join([stage.kind, platform.node(), where, f"{os.cpu_count()} cores", *values])


def units_of(stage: Stage[Any], settings: Settings, frames: int) -> int:
    """What a stage's seconds grow with: steps of an optimisation for `invert`, frames for all others."""
    if stage.kind != "invert":
        return frames
    from inverters.methods.table import find_method

    chosen = settings.invert
    return chosen.steps or find_method(chosen.method).steps(chosen.of_method(), frames) or frames


def estimate(costs: Iterable[Cost], name: str, units: int) -> Estimate | None:
    """What a stage `like` this is expected to take for so many units; None where none has run.

    A line is fitted to the seconds over the units of the last 20 runs; with runs of one size only, seconds
    are taken to grow with the units.
    """
    same = [cost for cost in costs if cost.like == name][-20:]
    if not same:
        return None
    mib = max(cost.mib for cost in same)
    mean_units = sum(cost.units for cost in same) / len(same)
    mean_seconds = sum(cost.seconds for cost in same) / len(same)
    spread = sum((cost.units - mean_units) ** 2 for cost in same)
    slope = mean_seconds / max(mean_units, 1.0)
    if spread > 0:
        fitted = sum((c.units - mean_units) * (c.seconds - mean_seconds) for c in same) / spread
        slope = min(max(fitted, 0.0), slope)
    return Estimate(max(mean_seconds + slope * (units - mean_units), 0.0), mib, len(same))
