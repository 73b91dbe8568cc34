"""Settings of the training of the bundled generator."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainSettings:
    """Settings of one call of the trainer.

    A fresh run begins from the generator `start` if that is given, else by training the mapping alone for
    `pretrain` steps.
    """

    minutes: float = 60.0
    """Wall time of the call."""
    learning_rate: float = 1e-2
    """Learning rate of Adam."""
    cooldown: float = 0.6
    """Share of the time, at its end, over which the learning rate falls."""
    seed: int = 0
    """Seed of heads and points."""
    ema: float = 0.998
    """Decay of the moving average of the weights, which is what is exported."""
    grow_at: int = 6000
    """Step from which planes have their full size; half of it before."""
    patches_from: int = 8000
    """Step from which patches of stored pictures join every step."""
    heads: int = 4
    """Heads in a step."""
    patches: int = 3
    """Patches in a step."""
    patch: int = 20
    """Side of a patch in pixels of the neural render."""
    pictures: int = 2500
    """Stored pictures to make."""
    sharpen: float = 10.0
    """Minutes of training super-resolution alone, at the end."""
    pretrain: int = 2500
    """Steps of training the mapping alone, at the beginning of a fresh run."""
    start: str = ""
    """Exported generator that a fresh run begins from."""
    save_every: float = 300.0
    """Seconds between two checkpoints."""
    workers: int = 1
    """Processes that make heads."""
    device: str = "auto"
    """auto, cpu or cuda."""
