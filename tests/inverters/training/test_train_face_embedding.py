"""The face embedding: trained, written and read; what it must not see is taken out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from inverters.errors import CheckpointError
from inverters.generators.face_embedding import (
    FACE_EMBEDDING_PATH,
    FaceEmbeddingNetwork,
    read_card,
    read_network,
)
from inverters.people.params import NUM_PARAMETERS, index
from inverters.training.train_face_embedding import make_face_embedding, pair_loss, project_out, rates


def test_an_embedding_is_written_and_read(tmp_path: Path, ball_set: Path) -> None:
    out = tmp_path / "face.safetensors"
    card = make_face_embedding(ball_set, 0.02, device="cpu", out=out)
    assert read_card(out) == card and 0 <= card["equal_error"] <= 1 and 0 <= card["turn_told"] <= 1
    faces = torch.rand(3, 3, 64, 64) * 2 - 1
    network = read_network(out)
    torch.testing.assert_close(network(faces).norm(dim=1), torch.ones(3))
    assert network.turns(faces).shape == (3, 4)
    with pytest.raises(CheckpointError, match="invid train-face-embedding"):
        read_network(tmp_path / "none.safetensors")


def test_the_bundled_one_is_small_and_tells_people_apart() -> None:
    assert FACE_EMBEDDING_PATH.stat().st_size <= 2 * 1024**2
    card = read_card()
    assert card["equal_error"] < 0.03 and card["turn_told"] > 0.95


def test_pairs_that_are_alike_cost_less_than_pairs_that_are_not() -> None:
    people = torch.nn.functional.normalize(
        torch.randn(16, 16, generator=torch.Generator().manual_seed(0)), dim=1
    )
    same = torch.cat([people, people])
    mixed = torch.cat([people, people.roll(1, 0)])
    assert pair_loss(same) < pair_loss(mixed)
    assert rates(same)["nearest"] == 1.0


def test_what_tells_an_expression_is_taken_out() -> None:
    rng = torch.Generator().manual_seed(0)
    network = FaceEmbeddingNetwork().eval()
    network.head.bias.data.zero_()
    scores = torch.randn(200, NUM_PARAMETERS, generator=rng)
    embeddings = torch.randn(200, 96, generator=rng)
    embeddings[:, 0] = 5 * scores[:, index("smile")]
    project_out(network, embeddings, scores)
    faces = torch.rand(16, 3, 64, 64, generator=rng) * 2 - 1
    assert network(faces)[:, 0].detach().abs().mean() < 0.03
