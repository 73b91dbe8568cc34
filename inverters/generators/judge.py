"""The judge of edits: a small convolutional network that predicts a person's parameters from a picture.

Trained on pictures of people alone, never on a generator's output, with jittered framing, blur and gain, so
that it also works on crops whose alignment was estimated. Its accuracy on held-out people is in its card.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from inverters.errors import CheckpointError
from inverters.generators.layers import halving_stage
from inverters.generators.small_files import read_json
from inverters.people.params import NUM_PARAMETERS, index

JUDGE_SIZE = 128
JUDGE_PATH = Path(__file__).parent / "judge.safetensors"
_WIDTHS = (32, 64, 96, 160, 224)


class JudgeNetwork(nn.Module):
    """Network from [N,3,128,128] in [-1,1] to normal scores [N,P]. Each stage halves the size."""

    def __init__(self, parameters: int = NUM_PARAMETERS) -> None:
        super().__init__()
        self.stages = nn.ModuleList(halving_stage(*widths) for widths in pairwise((3, *_WIDTHS)))
        last = (JUDGE_SIZE >> len(_WIDTHS)) ** 2
        self.head = nn.Sequential(nn.Linear(_WIDTHS[-1] * last, 256), nn.SiLU(), nn.Linear(256, parameters))

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N,3,128,128] to scores [N,P]."""
        for stage in self.stages:
            images = stage(images)
        return self.head(images.flatten(1))

    def features(self, images: Tensor, stages: int) -> list[Tensor]:
        """Return the outputs of the first stages for images [N,3,H,W] of any size, finest first."""
        found = []
        for stage in self.stages[:stages]:
            images = stage(images)
            found.append(images)
        return found


class Judge:
    """Predicts parameters from crops; `correlation[name]` is its correlation with the truth, held out."""

    def __init__(self, path: Path = JUDGE_PATH) -> None:
        card = read_card(path)
        self.correlation: dict[str, float] = card["correlation"]
        self.network = read_network(path)

    @torch.no_grad()
    def scores(self, images: Tensor) -> Tensor:
        """Return normal scores [N,P] of crops [N,3,H,W] in [-1,1], area-resampled to 128 x 128."""
        return self.network(to_judge_size(images))

    def parameter(self, images: Tensor, name: str) -> Tensor:
        """Return the normal score [N] of one parameter."""
        return self.scores(images)[:, index(name)]


def read_card(path: Path) -> dict[str, Any]:
    """Return the card of a judge's weights.

    Raises:
        CheckpointError: weights or card are missing, or read other parameters than people have.
    """
    card_path = path.with_suffix(".json")
    if not path.exists() or not card_path.exists():
        raise CheckpointError(
            f"the judge's weights are missing at {path}; make them with `invid train-judge`"
        )
    card: dict[str, Any] = read_json(card_path)
    if card["parameters"] != NUM_PARAMETERS:
        raise CheckpointError(
            f"the judge at {path} reads {card['parameters']} parameters, people have {NUM_PARAMETERS}"
        )
    return card


def read_network(path: Path = JUDGE_PATH) -> JudgeNetwork:
    """Return the network of these weights, fixed; raises CheckpointError as `read_card`."""
    read_card(path)
    network = JudgeNetwork().eval().requires_grad_(False)
    network.load_state_dict({k: v.float() for k, v in load_file(path).items()})
    return network


def to_judge_size(images: Tensor) -> Tensor:
    """Resample crops [N,3,H,W] to 128 x 128, by area for whole factors."""
    if images.shape[-1] % JUDGE_SIZE == 0:
        return F.avg_pool2d(images, images.shape[-1] // JUDGE_SIZE)
    return F.interpolate(
        images, size=(JUDGE_SIZE, JUDGE_SIZE), mode="bilinear", antialias=True, align_corners=False
    )
