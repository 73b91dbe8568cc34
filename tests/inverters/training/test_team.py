"""Several processes that train one generator."""

from pathlib import Path

import pytest
import torch

from inverters.training.team import Team, start_team, team_size
from tests.inverters.training.test_trainer import steps, trainer_in


def gradient(rank: int) -> torch.Tensor:
    """Of a kernel, in the layout that convolutions give it."""
    plain = torch.arange(24.0).reshape(2, 3, 2, 2) * (1 + rank)
    return plain.contiguous(memory_format=torch.channels_last)


def mate(path: str, rank: int, size: int, meeting: str) -> None:
    team = Team(rank, size, meeting)
    weight = torch.nn.Parameter(torch.zeros(2, 3, 2, 2).contiguous(memory_format=torch.channels_last))
    weight.grad = gradient(rank)
    team.average([weight])
    said = team.lead(False, -1.0)
    torch.save((weight.grad, said), path)
    team.leave()


def test_a_team_averages_gradients_and_follows_its_first(tmp_path: Path) -> None:
    team, (other,) = start_team(2, mate, (str(tmp_path / "mate.pt"),))
    weight = torch.nn.Parameter(torch.zeros(2, 3, 2, 2).contiguous(memory_format=torch.channels_last))
    weight.grad = gradient(0)
    team.average([weight])
    assert team.lead(True, 0.25) == (True, 0.25)
    other.join(60)
    team.leave()
    grad, said = torch.load(tmp_path / "mate.pt", weights_only=True)
    torch.testing.assert_close(weight.grad, 1.5 * gradient(0))
    assert torch.equal(grad, weight.grad)
    assert said == (True, 0.25)


@pytest.mark.parametrize("critic", [{}, {"adversarial": 0.1, "grow_at": 0, "patches_from": 0, "patch": 12}])
def test_a_run_of_two_processes_ends_and_goes_on_with_one(
    tmp_path: Path, ball_set: Path, critic: dict[str, float]
) -> None:
    trainer = trainer_in(tmp_path, ball_set, processes=2, minutes=0.05, **critic)
    assert trainer.run()
    assert trainer.step > 0
    assert trainer.team is None
    assert trainer.run(), "a second team can be made"
    alone = trainer_in(tmp_path, ball_set, **critic)
    assert alone.step == trainer.step
    steps(alone, 1)


def test_a_team_is_as_large_as_asked_and_alone_on_a_gpu() -> None:
    assert team_size(3, torch.device("cpu")) == 3
    assert team_size(3, torch.device("cuda")) == 1
    assert 1 <= team_size(0, torch.device("cpu")) <= 4
