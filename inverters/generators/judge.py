"""The judge of edits: a small convolutional network that predicts a head's parameters from its picture.

Trained on renders of procedural heads only, never on a generator's output, with jittered framing, blur and
gain, so that it also works on crops whose alignment was estimated. Its accuracy on held-out heads is in its
card.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from inverters.errors import CheckpointError
from inverters.generators.small_files import read_json
from inverters.heads.params import NUM_PARAMETERS, index

JUDGE_SIZE = 64
JUDGE_PATH = Path(__file__).parent / "judge.safetensors"


class JudgeNetwork(nn.Module):
    """Network from [N,3,64,64] in [-1,1] to normal scores [N,P]."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for out in (width, width * 2, width * 4, width * 6):
            layers += [nn.Conv2d(channels, out, 3, padding=1), nn.GroupNorm(8, out), nn.SiLU()]
            layers += [nn.Conv2d(out, out, 3, stride=2, padding=1), nn.GroupNorm(8, out), nn.SiLU()]
            channels = out
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Linear(channels * 16, 256), nn.SiLU(), nn.Linear(256, NUM_PARAMETERS))

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N,3,64,64] to scores [N,P]."""
        return self.head(self.features(images).flatten(1))


class Judge:
    """Predicts parameters from crops; `correlation[name]` is its correlation with held-out true heads."""

    def __init__(self, path: Path = JUDGE_PATH) -> None:
        card_path = path.with_suffix(".json")
        if not path.exists() or not card_path.exists():
            raise CheckpointError(
                f"the judge's weights are missing at {path}; make them with `invid train-judge`"
            )
        card = read_json(card_path)
        if card["parameters"] != NUM_PARAMETERS:
            raise CheckpointError(
                f"the judge at {path} reads {card['parameters']} parameters, heads have {NUM_PARAMETERS}"
            )
        self.correlation: dict[str, float] = card["correlation"]
        self.network = JudgeNetwork().eval().requires_grad_(False)
        self.network.load_state_dict({k: v.float() for k, v in load_file(path).items()})

    @torch.no_grad()
    def scores(self, images: Tensor) -> Tensor:
        """Return normal scores [N,P] of crops [N,3,H,W] in [-1,1], area-resampled to 64 x 64."""
        return self.network(to_judge_size(images))

    def parameter(self, images: Tensor, name: str) -> Tensor:
        """Return the normal score [N] of one parameter."""
        return self.scores(images)[:, index(name)]


def to_judge_size(images: Tensor) -> Tensor:
    """Resample crops [N,3,H,W] to 64 x 64, by area for whole factors."""
    if images.shape[-1] % JUDGE_SIZE == 0:
        return F.avg_pool2d(images, images.shape[-1] // JUDGE_SIZE)
    return F.interpolate(
        images, size=(JUDGE_SIZE, JUDGE_SIZE), mode="bilinear", antialias=True, align_corners=False
    )
