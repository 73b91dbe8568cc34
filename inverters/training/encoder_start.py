"""How a fresh encoder of our own begins, its least-squares last layer, and the precision of a run."""

from __future__ import annotations

import torch
from torch import Tensor

from inverters.encoders.e4e_mask import E4eMask


@torch.no_grad()
def begin_at_judge(network: E4eMask, judge: dict[str, Tensor]) -> None:
    """Copy the judge's trunk and what it makes of it into a network of the same trunk."""
    own = network.state_dict()
    own |= {k: v.float() for k, v in judge.items() if k.startswith("stages.")}
    for name in ("head.0.weight", "head.0.bias"):
        few = min(len(own[name]), len(judge[name]))
        own[name][:few] = judge[name][:few].float()
    network.load_state_dict(own)


@torch.no_grad()
def fit_last_layer(network: E4eMask, hidden: Tensor, offsets: Tensor, ridge: float = 0.03) -> None:
    """Set the layer that makes row 0 to the least-squares fit of offsets [n,w_dim] by hidden [n,H]."""
    mean, centre = hidden.double().mean(0), offsets.double().mean(0)
    x = hidden.double() - mean
    square = x.mT @ x
    square += ridge * square.diagonal().mean() * torch.eye(len(square)).to(square)
    weight = torch.linalg.solve(square, x.mT @ (offsets.double() - centre)).mT
    network.base.weight.copy_(weight)
    network.base.bias.copy_(centre - weight @ mean)


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype of this name; `auto`: bfloat16 on GPUs and on processors with instructions for it."""
    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]
    fast = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32
