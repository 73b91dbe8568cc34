"""Adam for tables of which each step uses a few rows: rows that are not used do not move.

A dense Adam moves every row at every step by its momentum. Here moments and step counts belong to rows, so
that the cost of a step is that of its rows, whatever the length of the clip.
"""

from __future__ import annotations

import torch
from torch import Tensor


class RowAdam:
    """Adam (Kingma and Ba 2014) over the rows of one table `values` [K,...], updated in place."""

    def __init__(
        self, values: Tensor, betas: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-8
    ) -> None:
        self.values = values.detach()
        self.first = torch.zeros_like(self.values)
        self.second = torch.zeros_like(self.values)
        self.counts = torch.zeros(len(values), dtype=torch.int64, device=values.device)
        self.betas, self.epsilon = betas, epsilon

    def leaf(self, rows: Tensor) -> Tensor:
        """Return the rows [n] (distinct) as a new leaf [n,...] that collects a gradient."""
        return self.values[rows].requires_grad_(True)

    @torch.no_grad()
    def step(self, rows: Tensor, gradient: Tensor | None, rate: float) -> None:
        """Do one Adam step of these rows at learning rate `rate`; without a gradient (None) do nothing."""
        if gradient is None:
            return
        beta1, beta2 = self.betas
        self.counts[rows] += 1
        shape = (-1,) + (1,) * (gradient.ndim - 1)
        count = self.counts[rows].to(gradient.dtype).reshape(shape)
        first = self.first[rows].lerp(gradient, 1 - beta1)
        second = self.second[rows] * beta2 + gradient.square() * (1 - beta2)
        self.first[rows], self.second[rows] = first, second
        spread = (second / (1 - beta2**count)).sqrt() + self.epsilon
        self.values[rows] -= rate * (first / (1 - beta1**count)) / spread

    def state(self) -> dict[str, Tensor]:
        """Return values and moments by name."""
        return {"values": self.values, "first": self.first, "second": self.second, "counts": self.counts}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Load the state of another RowAdam of the same shape."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])


class DenseAdam(RowAdam):
    """The same for a whole tensor, kept as a table of one row."""

    def __init__(
        self, values: Tensor, betas: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-8
    ) -> None:
        super().__init__(values.unsqueeze(0), betas, epsilon)

    def whole(self) -> Tensor:
        """Return the tensor as a leaf that collects a gradient; `update` changes it."""
        return self.values[0].detach().requires_grad_(True)

    def value(self) -> Tensor:
        """Return a contiguous copy of the tensor."""
        return self.values[0].clone(memory_format=torch.contiguous_format)

    @torch.no_grad()
    def update(self, leaf: Tensor, rate: float) -> None:
        """Do one Adam step with the gradient that `leaf` (from `whole`) collected."""
        if leaf.grad is None:
            return
        (beta1, beta2), gradient = self.betas, leaf.grad.unsqueeze(0)
        self.counts += 1
        count = int(self.counts[0])
        self.first.lerp_(gradient, 1 - beta1)
        self.second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        spread = (self.second / (1 - beta2**count)).sqrt_().add_(self.epsilon)
        self.values.addcdiv_(self.first, spread, value=-rate / (1 - beta1**count))
