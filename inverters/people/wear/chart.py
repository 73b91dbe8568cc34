"""Charts of the torso around an opening of a garment: how far around, and how far from the border.

Collars, hoods and lapels are swept over such a chart, so that their edges are smooth whatever the mesh is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from inverters.people.wear.torso import SAMPLES, cut_edges, sparse, torso


@dataclass(frozen=True)
class Chart:
    """Points of the torso at J distances from a border, SAMPLES of them around the neck each."""

    matrix: Tensor
    """Sparse [J*SAMPLES,n1]."""
    levels: tuple[float, ...]
    """[J], ascending: canonical distance from the border; positive within the garment."""

    def place(self, values: Tensor, around: Tensor, distance: Tensor) -> Tensor:
        """Return values [J*SAMPLES,C] of the chart at places of one shape: [...,C].

        Args:
            values: from `matrix @ values of the torso`.
            around: in [-1,1]: 0 in front, positive towards +x, +-1 behind.
            distance: canonical distance from the border; beyond the levels the chart goes on straight.
        """
        levels = torch.tensor(self.levels, device=values.device)
        x = (around % 2.0) * (SAMPLES / 2)
        k = x.floor()
        j = (torch.searchsorted(levels, distance.contiguous(), right=True) - 1).clamp(0, len(levels) - 2)
        s = ((distance - levels[j]) / (levels[j + 1] - levels[j])).clamp(-3, 3)[..., None]
        t, k = (x - k)[..., None], k.long() % SAMPLES
        table = values.reshape(len(levels), SAMPLES, -1)
        after = (k + 1) % SAMPLES
        low = table[j, k] * (1 - t) + table[j, after] * t
        high = table[j + 1, k] * (1 - t) + table[j + 1, after] * t
        return low * (1 - s) + high * s


def distance_field(device: str, field: Tensor) -> Tensor:
    """Return the canonical distance [n2] from the zero line of a field [n2], with the field's sign."""
    t = torso(device)
    border = _loop(device, field).points
    # The loop's vertices are a mesh edge apart; more points between them make the distance smooth.
    share = torch.arange(4, device=border.device)[:, None, None] / 4
    dense = (border * (1 - share) + border.roll(-1, 0) * share).reshape(-1, 3)
    far = torch.cat([torch.cdist(part, dense).amin(1) for part in torch.split(t.canonical2, 4096)])
    return torch.where(field > 0, far, -far)


def chart(device: str, distance: Tensor, levels: tuple[float, ...]) -> Chart:
    """Return the chart of a distance field [n2] at those of these levels that go around the neck."""
    t = torso(device)
    loops = [(level, _loop(device, distance - level)) for level in levels]
    loops = [(level, loop) for level, loop in loops if loop.goes_around]
    blocks = [_resampled(loop) for _, loop in loops]
    rows = torch.cat([b.to_sparse() for b in blocks]).coalesce()
    matrix = torch.sparse.mm(rows, t.to_fine.to_sparse()).coalesce().to_sparse_csr()
    return Chart(matrix, tuple(level for level, _ in loops))


@dataclass(frozen=True)
class _Loop:
    rows: Tensor
    """Sparse [L,n2]."""
    points: Tensor
    """[L,3], in order, from the front's middle on towards +x."""

    @property
    def goes_around(self) -> bool:
        """Whether the line is closed and passes before and behind the neck."""
        step = (self.points - self.points.roll(-1, 0)).norm(dim=1)
        (low, _, back), (high, _, front) = self.points.amin(0).tolist(), self.points.amax(0).tolist()
        return float(step[-1]) < 0.03 and low < 0 < high and back < -0.1 < front - 0.05


def _loop(device: str, field: Tensor) -> _Loop:
    """The longest closed zero line of a field."""
    rows, ends = cut_edges(device, field)
    points = torch.sparse.mm(rows, torso(device).canonical2)
    neighbours: dict[int, list[int]] = {}
    for a, b in ends.tolist():
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)
    best: list[int] = []
    best_length = 0.0
    while neighbours:
        way = _walk(neighbours)
        p = points[way]
        length = float((p - p.roll(-1, 0)).norm(dim=1).sum())
        if length > best_length:
            best, best_length = way, length
    order = torch.tensor(best, device=points.device)
    p = points[order]
    front = int((p[:, 2] - 4 * p[:, 0].abs()).argmax())
    order = order.roll(-front)
    p = points[order]
    if p[len(p) // 4, 0] < 0:
        order = torch.cat([order[:1], order[1:].flip(0)])
    return _Loop(rows.index_select(0, order).coalesce(), points[order])


def _walk(neighbours: dict[int, list[int]]) -> list[int]:
    """Take one line out of a graph of lines."""
    at: int | None = next(iter(neighbours))
    way = []
    while at is not None:
        way.append(at)
        around = neighbours.pop(at)
        at = next((n for n in around if n in neighbours), None)
    return way


def _resampled(loop: _Loop) -> Tensor:
    """Sparse [SAMPLES,n2]: the loop at even steps from the front's middle to the back's, on each side."""
    p = torch.cat([loop.points, loop.points[:1]])
    device, count = p.device, len(loop.points)
    far = torch.cat([p.new_zeros(1), (p[1:] - p[:-1]).norm(dim=1).cumsum(0)])
    total = float(far[-1])
    start = _middle(p, far, 1.0)
    back = (_middle(p, far, -1.0) - start) % total
    half = SAMPLES // 2
    step = torch.arange(half, device=device) / half
    arc = (start + torch.cat([step * back, back + step * (total - back)])) % total
    k = (torch.searchsorted(far, arc, right=True) - 1).clamp(0, count - 1)
    t = (arc - far[k]) / (far[k + 1] - far[k]).clamp_min(1e-9)
    n = torch.arange(SAMPLES, device=device)
    pick = sparse(n.repeat(2), torch.cat([k, (k + 1) % count]), torch.cat([1 - t, t]), (SAMPLES, count))
    # A little smoothing along the line removes the corners at mesh edges.
    shift = torch.arange(-3, 4, device=device)
    weight = torch.exp(-0.5 * (shift / 1.3) ** 2)
    blur = sparse(
        n.repeat_interleave(7),
        (n[:, None] + shift).flatten() % SAMPLES,
        (weight / weight.sum()).repeat(SAMPLES),
        (SAMPLES, SAMPLES),
    )
    mixed = torch.sparse.mm(blur.to_sparse(), pick.to_sparse())
    rows: Tensor = torch.sparse.mm(mixed, loop.rows)
    return rows


def _middle(points: Tensor, far: Tensor, side: float) -> float:
    """Length along a closed line [L+1,3] at which it crosses x = 0, in front (side 1) or behind (-1)."""
    x = points[:, 0]
    crossing = ((x[:-1] > 0) != (x[1:] > 0)).nonzero()[:, 0]
    k = crossing[(side * points[crossing, 2]).argmax()]
    share = x[k] / (x[k] - x[k + 1])
    return float(far[k] + share * (far[k + 1] - far[k]))
