"""The bundled face embedding: a small convolutional network whose output is alike for pictures of one person.

Trained on the bundled people alone (`invid train-face-embedding`), on pictures whose backdrop is replaced,
with jittered framing, light, blur and covered parts. It tells the faces of one clip apart; it is no
recognition of real persons. Its error rates on held-out people are in its card.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from inverters.errors import CheckpointError
from inverters.generators.layers import halving_stage
from inverters.generators.small_files import read_json

FACE_SIZE = 64
"""Side in pixels of the faces that the network takes."""
FACE_SHARE = 0.75
"""Side of such a face in sides of EG3D's crop, whose middle it is."""
FACE_EMBEDDING_PATH = Path(__file__).parent / "face_embedding.safetensors"
_WIDTHS = (32, 64, 112, 160)
_NUMBERS = 96


class FaceEmbeddingNetwork(nn.Module):
    """Network from faces [N,3,64,64] in [-1,1] to unit vectors [N,96]. Each stage halves the size.

    `turns` tells how a face stands.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(halving_stage(*widths) for widths in pairwise((3, *_WIDTHS)))
        self.head = nn.Linear(_WIDTHS[-1] * (FACE_SIZE >> len(_WIDTHS)) ** 2, _NUMBERS)
        self.turn = nn.Linear(self.head.in_features, 4)

    def forward(self, faces: Tensor) -> Tensor:
        """Map faces [N,3,64,64] to unit vectors [N,96]; the cosine of two tells how alike the faces are."""
        return F.normalize(self.head(self.features(faces)), dim=1)

    def turns(self, faces: Tensor) -> Tensor:
        """Scores [N,4] of faces [N,3,64,64] turned by 0, 1, 2, 3 quarters counterclockwise; near 1 and 0."""
        return self.turn(self.features(faces))

    def features(self, faces: Tensor) -> Tensor:
        """Map faces [N,3,64,64] to the numbers [N,D] that both are read from."""
        for stage in self.stages:
            faces = stage(faces)
        return faces.flatten(1)


def read_card(path: Path = FACE_EMBEDDING_PATH) -> dict[str, float]:
    """Return the card of an embedding's weights. Raises CheckpointError where a file is missing."""
    card_path = path.with_suffix(".json")
    if not path.exists() or not card_path.exists():
        raise CheckpointError(
            f"the face embedding is missing at {path}; make it with `invid train-face-embedding`"
        )
    card: dict[str, float] = read_json(card_path)
    return card


def read_network(path: Path = FACE_EMBEDDING_PATH) -> FaceEmbeddingNetwork:
    """Return the network of these weights, fixed; raises CheckpointError as `read_card`."""
    read_card(path)
    network = FaceEmbeddingNetwork().eval().requires_grad_(False)
    network.load_state_dict({k: v.float() for k, v in load_file(path).items()})
    return network
