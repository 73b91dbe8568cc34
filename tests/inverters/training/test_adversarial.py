"""The critic tells blurred patches from sharp ones, and its features measure how far patches are apart."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from inverters.training.adversarial import Adversary, pair


def sharp(count: int, seed: int) -> Tensor:
    """Pairs of noise [n,6,48,48] in [-1,1]."""
    return torch.rand(count, 6, 48, 48, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def blurred(patches: Tensor) -> Tensor:
    return F.avg_pool2d(patches, 5, 1, 2)


@pytest.fixture(scope="module")
def adversary() -> Adversary:
    """One that has seen 60 pairs of batches."""
    torch.manual_seed(0)
    found = Adversary(torch.device("cpu"))
    for step in range(60):
        truth = sharp(4, step)
        found.learn(blurred(truth), truth)
    return found


def test_the_critic_learns_what_is_sharp(adversary: Adversary) -> None:
    truth = sharp(8, 1000)
    true, made = (adversary.critic(patches)[0].mean() for patches in (truth, blurred(truth)))
    assert true > made + 0.5


def test_sharper_patches_have_lower_losses(adversary: Adversary) -> None:
    truth = sharp(8, 1001)
    near = 0.8 * truth + 0.2 * blurred(truth)
    for less, more in zip(
        adversary.losses(near, truth), adversary.losses(blurred(truth), truth), strict=True
    ):
        assert less < more


def test_equal_patches_match(adversary: Adversary) -> None:
    truth = sharp(2, 1002)
    assert adversary.losses(truth, truth)[1] == 0


def test_the_generators_terms_leave_the_critic_alone(adversary: Adversary) -> None:
    made = blurred(sharp(2, 1003)).requires_grad_()
    torch.stack(adversary.losses(made, sharp(2, 1003))).sum().backward()
    assert made.grad is not None and made.grad.abs().sum() > 0
    assert all(not p.requires_grad for p in adversary.critic.parameters())


def test_a_pair_has_both_patches_at_the_final_size() -> None:
    image, raw = sharp(2, 1004)[:, :3], torch.full((2, 3, 24, 24), 0.5)
    both = pair(image, raw)
    assert torch.equal(both[:, :3], image) and torch.equal(both[:, 3:], torch.full((2, 3, 48, 48), 0.5))
