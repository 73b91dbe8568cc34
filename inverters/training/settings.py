"""Settings of the training of the bundled generator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from inverters.errors import InverterError

_MANY = 10**9
BOUNDS: dict[str, tuple[float, float]] = {
    "minutes": (0, _MANY),
    "cooldown": (0, _MANY),
    "learning_rate": (1e-9, 1),
    "seed": (0, 2**32 - 1),
    "ema": (0, 1),
    "grow_at": (0, _MANY),
    "patches_from": (0, _MANY),
    "batch": (0, 10**6),
    "processes": (0, 1024),
    "views": (1, 1000),
    "rays": (1, 10**6),
    "patches": (0, 1000),
    "patch": (1, 4096),
    "geometry": (0, 10**6),
    "regression": (0, 10**6),
    "perceptual": (0, 10**6),
    "texture": (0, 10**6),
    "adversarial": (0, 10**6),
    "people": (0, _MANY),
    "workers": (0, 1024),
    "pretrain": (0, _MANY),
    "remap": (0, _MANY),
    "save_every": (0, _MANY),
    "nice": (0, 19),
}
"""The least and the most that each number may be."""


def check_bounds(settings: object, bounds: Mapping[str, tuple[float, float]]) -> None:
    """Raise InverterError, which names the option, for a number outside of the bounds of its name."""
    for name, (least, most) in bounds.items():
        value = getattr(settings, name)
        if not least <= value <= most:
            option = f"--{name.replace('_', '-')}"
            raise InverterError(f"{option} goes from {least:.10g} to {most:.10g}, not {value:.10g}")


@dataclass(frozen=True)
class TrainSettings:
    """Settings of one call of the trainer.

    A fresh run begins from the generator `start` if that is given, else by training the mapping alone for
    `pretrain` steps. What is learned when depends on the step alone, not on the minutes of a call.
    """

    minutes: float = 60.0
    """Wall time of the call."""
    cooldown: float = 0.0
    """Minutes in which the learning rate falls to zero in a copy of the run, which is then exported; 0 trains
    on.
    """
    learning_rate: float = 5e-3
    """Learning rate of Adam before its decay with 1/sqrt of the step."""
    seed: int = 0
    """Seed of people, rays and patches."""
    ema: float = 0.998
    """Decay of the moving average of the weights, which is what is exported."""
    grow_at: int = 2000
    """Step from which planes have their full size; half of it before."""
    patches_from: int = 2500
    """Step from which rendered patches join every step."""
    batch: int = 0
    """People in a step of a process; 0: 4 on a CPU, as many as fit into its memory on a GPU."""
    processes: int = 0
    """Processes on a CPU that share a step: each draws people, their gradients are averaged; 0: one a core,
    at most 4.
    """
    views: int = 2
    """Views of a person in a step."""
    rays: int = 512
    """Rays of a view in a step."""
    patches: int = 1
    """Patches of a person in a step."""
    patch: int = 48
    """Side of a patch in pixels of the raw render."""
    geometry: float = 1.0
    """Weight of the errors of density and depth. Absolute errors ask for a median: no hair where there may
    be some.
    """
    regression: float = 1.0
    """Weight of the errors of final patches, and of their gradients."""
    perceptual: float = 0.0
    """Weight of the loss on features of the judge."""
    texture: float = 0.0
    """Weight of the loss on local texture: how rough, and in which direction."""
    judge: str = ""
    """Weights of that judge; empty takes the bundled one."""
    adversarial: float = 0.0
    """Weight of the adversarial loss and of feature matching."""
    people: int = 0
    """Stored people to make, beside the 50 held out, while training goes on; 0: 2000 on a CPU, 20000 on a
    GPU.
    """
    workers: int = 0
    """Processes that make people; 0: one on a CPU, four on a GPU."""
    pretrain: int = 12_000
    """Steps of training the mapping, at the beginning of a fresh run; it is frozen afterwards."""
    start: str = ""
    """Exported generator that a fresh run begins from."""
    remap: int = 0
    """Steps of training the mapping of `start` again; the affine layers are then fitted to its new codes."""
    critic: str = ""
    """Folder of a run whose critic a fresh run goes on with; not read without an adversarial loss."""
    save_every: float = 600.0
    """Seconds between two checkpoints."""
    device: str = "auto"
    """auto, cpu or cuda."""
    precision: str = "auto"
    """Of the convolutions: float32, bfloat16, or auto, the faster of the two on this machine."""
    nice: int = 19
    """Added to the process's niceness: training yields to other work."""

    def __post_init__(self) -> None:
        """Raise InverterError for a number out of bounds, or a mapping to train again where there is none."""
        check_bounds(self, BOUNDS)
        if self.remap and not self.start:
            raise InverterError(
                f"--remap {self.remap}: a fresh mapping is trained by --pretrain; give --start"
            )
