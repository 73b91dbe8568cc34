"""Cross attention as GOAE uses it, in its encoder and in its alignment of features."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class CrossAttention(nn.Module):
    """Attention and two dense layers, each with a residual; one norm between them, without parameters."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.width = width
        self.multihead_attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.linear1 = nn.Linear(width, 2 * width)
        self.linear2 = nn.Linear(2 * width, width)

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Map queries [N,Q,C] and keys [N,K,C], which are the values as well, to [N,Q,C]."""
        seen = self.multihead_attn(queries, keys, keys, need_weights=False)[0]
        x = F.layer_norm(queries + seen, (self.width,))
        found: Tensor = x + self.linear2(F.relu(self.linear1(x)))
        return found
