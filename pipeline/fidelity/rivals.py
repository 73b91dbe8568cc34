"""What runs against what: the inversion methods, each as its authors have it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.errors import UnknownNameError

_AS_IS = ("--finetune-steps", "0")
"""Without the last tuning of super-resolution, which is In-N-Out's (section 4.5)."""
_QUICK_TUNING = "35"
"""Steps of that tuning in the quick form: a quarter of `draft`'s."""


@dataclass(frozen=True)
class Rival:
    """A row of the table: options of `process-video` under a name."""

    name: str
    words: tuple[str, ...]
    note: str
    quick_steps: int
    """A quarter of the steps that preset `draft` takes for 8 frames."""

    @property
    def quick(self) -> Rival:
        """The same with so few steps, and as few of the last tuning where it has that."""
        words = ("--finetune-steps", _QUICK_TUNING, *self.words, "--steps", str(self.quick_steps))
        return replace(self, words=words)


RIVALS = (
    Rival("w", ("--inverter", "w", *_AS_IS), "one code for all layers, a frame", 50),
    Rival("w+", ("--inverter", "w+", *_AS_IS), "a code for each layer, a frame", 50),
    Rival("w+ tuned", ("--inverter", "w+"), "the same, then super-resolution as in In-N-Out's 4.5", 50),
    Rival("pti", ("--inverter", "pti", *_AS_IS), "codes, then the generator's weights", 75),
    Rival("pose-opt", ("--inverter", "pose-opt", *_AS_IS), "cameras, codes and weights together", 75),
    Rival(
        "vive3d", ("--inverter", "vive3d", *_AS_IS), "a person from a few frames, then frame by frame", 100
    ),
    Rival("hfgi3d", ("--inverter", "hfgi3d", *_AS_IS), "weights that also fit pseudo views", 80),
    Rival("in-n-out untuned", ("--inverter", "in-n-out", *_AS_IS), "without 4.5", 200),
    Rival("in-n-out", ("--inverter", "in-n-out"), "codes, a second field, super-resolution", 200),
    Rival("in-n-out no-entropy", ("--inverter", "in-n-out", "--no-entropy"), "ablation of its table 3", 200),
    Rival(
        "in-n-out no-latent-reg",
        ("--inverter", "in-n-out", "--no-latent-reg"),
        "ablation of its table 3",
        200,
    ),
)


def chosen_rivals(names: Sequence[str]) -> list[Rival]:
    """The rivals with these names, in the table's order; all where none is named. Raises UnknownNameError."""
    known = [rival.name for rival in RIVALS]
    for name in names:
        if name not in known:
            raise UnknownNameError(f"unknown method '{name}'; known: {', '.join(known)}")
    return [rival for rival in RIVALS if not names or rival.name in names]
