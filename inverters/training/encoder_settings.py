"""Settings of the training of encoders (`invid train-encoder`)."""

from __future__ import annotations

from dataclasses import dataclass

from inverters.errors import InverterError
from inverters.training.settings import check_bounds

_MANY = 10**9
BOUNDS: dict[str, tuple[float, float]] = {
    "minutes": (0, _MANY),
    "learning_rate": (1e-9, 1),
    "batch": (0, 10**5),
    "picture_people": (0, 1000),
    "pictures_from": (0, _MANY),
    "picture_side": (8, 1024),
    "refit": (0, 10**5),
    "covers": (0, 10**6),
    "samples": (0, 10**6),
    "save_every": (0, _MANY),
    "seed": (0, 2**32 - 1),
    "nice": (0, 19),
}
"""The least and the most that each number may be."""


@dataclass(frozen=True)
class EncoderLosses:
    """Weights of the losses; the fields of the preset `paper` say where its numbers come from."""

    code: float = 1.0
    """Distance of row 0 from the true w, as pictures differ by it (`code_metric`)."""
    parameters: float = 0.3
    """Distance of the named parameters that are read from row 0."""
    w: float = 0.02
    """Squared distance of row 0 from the true w, in standard deviations."""
    cover: float = 0.5
    """Cross entropy of the soft mask."""
    l2: float = 1.0
    """Squared error of the picture without the occluder."""
    perceptual: float = 0.0
    """Distance of the picture in the judge's features, which stand for LPIPS."""
    delta: float = 1e-3
    """Mean squared distance of the other rows from row 0 (e4e)."""


PAPER = EncoderLosses(
    code=0.0,
    parameters=0.0,
    w=0.0,
    cover=0.0,
    l2=1.0,  # GOAE 4.1, and pSp-3D and e4e-3D of its table 1: "L2 1.0, LPIPS 0.8"
    perceptual=0.8,
    delta=1e-3,  # GOAE, stage 1
)
PRESETS = {"own": EncoderLosses(), "paper": PAPER}


@dataclass(frozen=True)
class EncoderSettings:
    """Settings of one call. A later call in the same folder goes on from the state, at the full rate."""

    minutes: float = 60.0
    """Wall time of the call; the learning rate falls to zero in its last third."""
    preset: str = "own"
    """Weights of the losses: own, or paper (the numbers of GOAE's table for this network)."""
    learning_rate: float = 1e-3
    """Learning rate of AdamW."""
    batch: int = 0
    """Pictures in a step; 0: 48 on a CPU, 256 on a GPU."""
    picture_people: int = 2
    """Pictures of a step that are compared through the generator as well."""
    pictures_from: int = 1500
    """Step from which they are; with the preset paper it is the first."""
    picture_side: int = 48
    """Side in pixels at which they are compared."""
    refit: int = 60
    """Batches that the last layer of e4e-mask is fitted to by least squares, before and after; 0: none."""
    covers: int = 60
    """Parts of 128 pictures of covered people to draw, beside the one held out."""
    samples: int = 400
    """Pictures to draw by the generator itself, two views of each code."""
    save_every: float = 300.0
    """Seconds between two checkpoints, with a row of figures and a sheet of pictures."""
    seed: int = 0
    """Seed of all draws."""
    device: str = "auto"
    """auto, cpu or cuda."""
    precision: str = "auto"
    """Of the encoder: float32, bfloat16, or auto, bfloat16 where the processor has it."""
    nice: int = 10
    """Added to the process's niceness: training yields to other work."""

    def __post_init__(self) -> None:
        """Raise InverterError for a number out of bounds or an unknown preset."""
        check_bounds(self, BOUNDS)
        if self.preset not in PRESETS:
            raise InverterError(f"unknown preset '{self.preset}' of losses; known: {', '.join(PRESETS)}")

    @property
    def losses(self) -> EncoderLosses:
        """The weights of the preset."""
        return PRESETS[self.preset]
