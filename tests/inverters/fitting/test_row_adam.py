"""Adam of tables: equals torch's Adam if every row is used; rows that are not used do not move."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inverters.fitting.row_adam import DenseAdam, RowAdam


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_dense_adam_is_adam() -> None:
    start = normal(4, 3, seed=0)
    ours = DenseAdam(start)
    theirs = start.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([theirs], lr=0.03)
    for k in range(20):
        target = normal(4, 3, seed=k + 1)
        leaf = ours.whole()
        (leaf - target).square().sum().backward()
        ours.update(leaf, 0.03)
        optimiser.zero_grad()
        (theirs - target).square().sum().backward()
        optimiser.step()
    assert torch.allclose(ours.values[0], theirs, atol=1e-5)


@settings(max_examples=25)
@given(st.lists(st.sets(st.integers(0, 5), min_size=1, max_size=3), min_size=1, max_size=8))
def test_each_row_moves_as_if_it_were_alone(visits: list[set[int]]) -> None:
    """Every row equals an Adam of its own that was stepped at that row's visits only."""
    start, targets = normal(6, 4, seed=1), normal(6, 4, seed=2)
    table = RowAdam(start.clone())
    alone = [start[k].clone().requires_grad_(True) for k in range(6)]
    optimisers = [torch.optim.Adam([p], lr=0.05) for p in alone]
    for visit in visits:
        rows = torch.tensor(sorted(visit))
        before = table.values.clone()
        leaf = table.leaf(rows)
        (leaf - targets[rows]).square().sum().backward()
        table.step(rows, leaf.grad, 0.05)
        unseen = [k for k in range(6) if k not in visit]
        assert torch.equal(table.values[unseen], before[unseen])
        for k in visit:
            optimisers[k].zero_grad()
            (alone[k] - targets[k]).square().sum().backward()
            optimisers[k].step()
    assert torch.allclose(table.values, torch.stack(list(alone)), atol=1e-5)


def test_state_goes_on_bit_for_bit() -> None:
    def steps(table: RowAdam, first: int, last: int) -> None:
        for k in range(first, last):
            rows = torch.tensor([k % 3, 3])
            leaf = table.leaf(rows)
            (leaf.square() * (k + 1)).sum().backward()
            table.step(rows, leaf.grad, 0.1)

    whole, early, late = (RowAdam(normal(4, 2, seed=0)) for _ in range(3))
    steps(whole, 0, 9)
    steps(early, 0, 4)
    late.restore({k: v.clone() for k, v in early.state().items()})
    steps(late, 4, 9)
    assert torch.equal(whole.values, late.values)


def test_rows_without_a_gradient_stay() -> None:
    table = RowAdam(normal(3, 2, seed=0))
    before = table.values.clone()
    table.step(torch.tensor([0, 1]), None, 0.1)
    assert torch.equal(table.values, before) and int(table.counts.sum()) == 0
