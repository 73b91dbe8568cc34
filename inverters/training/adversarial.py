"""The adversarial term: a small critic of final patches, and the distance of patches in its features.

Non-saturating loss with R1 (Mescheder et al. 2018) and dual discrimination, as in EG3D (section 4.3): the
critic sees the final patch and the enlarged raw one, so that super-resolution cannot add what the planes do
not have. Feature matching after Wang et al. 2018, "High-Resolution Image Synthesis and Semantic Manipulation
with Conditional GANs", equation 4.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inverters.errors import CheckpointError
from inverters.training.team import Team
from inverters.training.training_state import load_state

R1_EVERY = 8
R1_WEIGHT = 0.1
_RAMP = 300
"""Steps of the critic after which its term has its full weight."""
_RATE = 1e-3
MATCHING = 10.0
"""Weight of feature matching relative to the critic's term."""


class Critic(nn.Module):
    """Pairs of patches [n,6,H,W], see `pair`, to a map of logits; each sees 38 x 38 pixels."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        widths = (6, width, 2 * width, 4 * width)
        layers: list[nn.Module] = []
        for a, b in pairwise(widths):
            layers += [nn.Conv2d(a, b, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        layers += [nn.Conv2d(widths[-1], widths[-1], 3), nn.LeakyReLU(0.2), nn.Conv2d(widths[-1], 1, 1)]
        self.layers = nn.Sequential(*layers)
        for layer in self.layers[:-1]:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, a=0.2)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return logits of being true [n,1,h,w], and the features of each layer."""
        features, x = [], image
        for layer in self.layers:
            x = layer(x)
            if isinstance(layer, nn.LeakyReLU):
                features.append(x)
        return x, features


class Adversary:
    """A critic, its optimiser and its number of steps."""

    def __init__(self, device: torch.device) -> None:
        self.critic = Critic().to(device).to(memory_format=torch.channels_last)
        self.optimiser = torch.optim.Adam(self.critic.parameters(), lr=_RATE, betas=(0.0, 0.99))
        self.steps = 0

    def losses(self, image: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Return the generator's terms for pairs [n,6,H,W]: the critic's, and feature matching."""
        for parameter in self.critic.parameters():
            parameter.requires_grad_(False)
        ramp = min(1.0, self.steps / _RAMP)
        logits, found = self.critic(image)
        wanted = self.critic(truth)[1]
        apart = torch.stack([(a - b).abs().mean() for a, b in zip(found, wanted, strict=True)]).mean()
        return F.softplus(-logits).mean() * ramp, apart * (MATCHING * ramp)

    def learn(self, image: Tensor, truth: Tensor, team: Team | None = None) -> Tensor:
        """Do one step of the critic on made and true pairs, with the whole team; return its loss."""
        for parameter in self.critic.parameters():
            parameter.requires_grad_(True)
        regularise = self.steps % R1_EVERY == 0
        true = truth.detach().requires_grad_(regularise)
        real = self.critic(true)[0]
        loss = F.softplus(-real).mean() + F.softplus(self.critic(image.detach())[0]).mean()
        total = loss
        if regularise:
            (slope,) = torch.autograd.grad(real.sum(), true, create_graph=True)
            # of the sum over the map's logits, whose patches overlap: per logit
            size = slope.square().sum((1, 2, 3)).mean() / real[0].numel()
            total = total + R1_WEIGHT / 2 * R1_EVERY * size
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        if team is not None:
            team.average(self.critic.parameters())
        self.optimiser.step()
        self.steps += 1
        return loss.detach()

    def tensors(self) -> dict[str, Tensor]:
        """Return the state of critic and optimiser."""
        found = {f"critic.{k}": v for k, v in self.critic.state_dict().items()}
        state = self.optimiser.state_dict()["state"]
        found |= {f"critic_adam.{k}.{key}": v for k, entry in state.items() for key, v in entry.items()}
        return found | {"critic_steps": torch.tensor(self.steps)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Load what `tensors` returned; nothing if a run had no critic yet."""
        if "critic_steps" not in tensors:
            return
        own = {k.removeprefix("critic."): v for k, v in tensors.items() if k.startswith("critic.")}
        self.critic.load_state_dict(own)
        state = self.optimiser.state_dict()
        entries: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("critic_adam."):
                _, k, key = name.split(".")
                entries.setdefault(int(k), {})[key] = value
        state["state"] = entries
        self.optimiser.load_state_dict(state)
        self.steps = int(tensors["critic_steps"])


def critic_of(folder: Path) -> dict[str, Tensor]:
    """Return the state of a run's critic, see `Adversary.restore`.

    Raises:
        CheckpointError: there is no run in `folder`, or it has no critic.
    """
    found = load_state(folder / "state")
    if found is None or "critic_steps" not in found[0]:
        raise CheckpointError(f"there is no training run with a critic in {folder}")
    return found[0]


def pair(image: Tensor, raw: Tensor) -> Tensor:
    """Return final patches [n,3,H,W] and raw ones [n,3,h,w], enlarged, as [n,6,H,W]."""
    large = F.interpolate(raw, size=image.shape[-2:], mode="bilinear", align_corners=False)
    return torch.cat([image, large], 1)
