"""The methods that the benchmark compares, each with the settings of its authors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.errors import UnknownNameError

_AS_IS = ("--finetune-steps", "0")
"""Without the final fine-tuning of super-resolution, which is In-N-Out's (section 4.5)."""
_QUICK_TUNING = "25"
"""Steps of that fine-tuning in the quick benchmark: a quarter of `draft`'s."""


@dataclass(frozen=True)
class BenchMethod:
    """A row of the table: a name, and options of `process-video`."""

    name: str
    words: tuple[str, ...]
    note: str
    quick_steps: int
    """A quarter of the steps of preset `draft` for 8 frames; 0 for encoders."""

    @property
    def file_name(self) -> str:
        """The name as part of a file's."""
        return self.name.replace(" ", "_").replace("/", "-")

    @property
    def quick(self) -> BenchMethod:
        """This method with `quick_steps`, and a quarter of the fine-tuning where it has one."""
        if not self.quick_steps:
            return self
        words = ("--finetune-steps", _QUICK_TUNING, *self.words, "--steps", str(self.quick_steps))
        return replace(self, words=words)


BENCH_METHODS = (
    BenchMethod("w", ("--inverter", "w", *_AS_IS), "one code for all layers, a frame", 100),
    BenchMethod("w+", ("--inverter", "w+", *_AS_IS), "a code for each layer, a frame", 100),
    BenchMethod("w+ z+", ("--inverter", "w+", "--space", "z+", *_AS_IS), "w+ in the space Z+", 100),
    BenchMethod(
        "w+ tuned", ("--inverter", "w+"), "the same, then super-resolution as in In-N-Out's 4.5", 100
    ),
    BenchMethod("pti", ("--inverter", "pti", *_AS_IS), "codes, then the generator's weights", 125),
    BenchMethod("pti z+", ("--inverter", "pti", "--space", "z+", *_AS_IS), "pti in the space Z+", 125),
    BenchMethod("pose-opt", ("--inverter", "pose-opt", *_AS_IS), "cameras, codes and weights together", 100),
    BenchMethod(
        "vive3d", ("--inverter", "vive3d", *_AS_IS), "a person from a few frames, then frame by frame", 124
    ),
    BenchMethod("hfgi3d", ("--inverter", "hfgi3d", *_AS_IS), "weights that also fit pseudo views", 130),
    BenchMethod(
        "hfgi3d z+", ("--inverter", "hfgi3d", "--space", "z+", *_AS_IS), "hfgi3d in the space Z+", 130
    ),
    BenchMethod("e4e-mask", ("--inverter", "e4e-mask"), "an encoder alone, no steps", 0),
    BenchMethod("e3dge", ("--inverter", "e3dge"), "e4e-mask, then local features", 0),
    BenchMethod("in-n-out untuned", ("--inverter", "in-n-out", *_AS_IS), "without 4.5", 225),
    BenchMethod("in-n-out", ("--inverter", "in-n-out"), "codes, a second field, super-resolution", 225),
    BenchMethod(
        "in-n-out no-start", ("--inverter", "in-n-out", "--start", "none"), "begun at the mean face", 225
    ),
    BenchMethod("in-n-out z+", ("--inverter", "in-n-out", "--space", "z+"), "codes in the space Z+", 225),
    BenchMethod(
        "in-n-out f/z+", ("--inverter", "in-n-out", "--space", "f/z+"), "the same, with a base code", 225
    ),
    BenchMethod(
        "in-n-out no-entropy", ("--inverter", "in-n-out", "--no-entropy"), "ablation of its table 3", 225
    ),
    BenchMethod(
        "in-n-out no-latent-reg",
        ("--inverter", "in-n-out", "--no-latent-reg"),
        "ablation of its table 3",
        225,
    ),
)


def select_methods(names: Sequence[str]) -> list[BenchMethod]:
    """The methods of these names in the table's order, all for no names. Raises UnknownNameError."""
    known = [method.name for method in BENCH_METHODS]
    for name in names:
        if name not in known:
            raise UnknownNameError(f"unknown method '{name}'; known: {', '.join(known)}")
    return [method for method in BENCH_METHODS if not names or method.name in names]
