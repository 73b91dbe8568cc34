"""The adversarial term: a small critic of final patches, given what the patch shows at a quarter of its size.

Non-saturating loss with R1 (Mescheder et al. 2018), as in EG3D. Since the critic knows the coarse content, it
judges the detail that regression blurs.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

R1_EVERY = 8
R1_WEIGHT = 2.0
_RAMP = 1000
"""Steps of the critic after which its term has its full weight."""
_RATE = 1e-3
_COARSE = 4


class Critic(nn.Module):
    """Patches [n,3,H,W] with their coarse content to a map of logits; each sees 38 x 38 pixels."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        widths = (6, width, 2 * width, 4 * width)
        layers: list[nn.Module] = []
        for a, b in pairwise(widths):
            layers += [nn.Conv2d(a, b, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        layers += [nn.Conv2d(widths[-1], widths[-1], 3), nn.LeakyReLU(0.2), nn.Conv2d(widths[-1], 1, 1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, image: Tensor, coarse: Tensor) -> Tensor:
        """Logits of being true."""
        return self.layers(torch.cat([image, coarse], 1))


class Adversary:
    """A critic, its optimiser and its number of steps."""

    def __init__(self, device: torch.device) -> None:
        self.critic = Critic().to(device, memory_format=torch.channels_last)
        self.optimiser = torch.optim.Adam(self.critic.parameters(), lr=_RATE, betas=(0.0, 0.99))
        self.steps = 0

    def loss(self, image: Tensor, truth: Tensor) -> Tensor:
        """Return the generator's term for final patches [n,3,H,W], of which `truth` are the true ones."""
        for parameter in self.critic.parameters():
            parameter.requires_grad_(False)
        ramp = min(1.0, self.steps / _RAMP)
        return F.softplus(-self.critic(image, coarse(truth))).mean() * ramp

    def learn(self, image: Tensor, truth: Tensor) -> Tensor:
        """Do one step of the critic on made and true patches; return its loss."""
        for parameter in self.critic.parameters():
            parameter.requires_grad_(True)
        given = coarse(truth)
        regularise = self.steps % R1_EVERY == 0
        true = truth.detach().requires_grad_(regularise)
        real = self.critic(true, given)
        loss = F.softplus(-real).mean() + F.softplus(self.critic(image.detach(), given)).mean()
        total = loss
        if regularise:
            (slope,) = torch.autograd.grad(real.sum(), true, create_graph=True)
            # of the sum over the map's logits, whose patches overlap: per logit
            size = slope.square().sum((1, 2, 3)).mean() / real[0].numel()
            total = total + R1_WEIGHT / 2 * R1_EVERY * size
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
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


def coarse(truth: Tensor) -> Tensor:
    """Return images [n,3,H,W] averaged over squares of 4 pixels, at the same size."""
    return F.interpolate(F.avg_pool2d(truth, _COARSE), size=truth.shape[-2:], mode="nearest")
