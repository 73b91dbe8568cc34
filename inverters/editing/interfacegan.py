"""InterfaceGAN: directions as normals of planes that separate codes with an attribute from those without.

Shen, Gu, Tang and Zhou 2020, "Interpreting the Latent Space of GANs for Semantic Face Editing".
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from inverters.errors import InverterError

SHARE = 0.1
"""Share of the codes with the highest scores, and with the lowest, that the plane separates. The release
takes 0.02 of 500,000; of some thousands that would be too few for a plane in 512 dimensions.
"""
TRAINED = 0.7
"""Share of the chosen codes that the plane is fitted to, as in the release; the rest measures its accuracy.
"""
PENALTY = 1.0
_STEPS = 400


@dataclass(frozen=True, eq=False)
class Boundary:
    """A plane normal . w + bias = 0.

    `normal` [w_dim] has unit length and points to high scores; `accuracy` is the share of held-out codes on
    the right side.
    """

    normal: Tensor
    bias: float
    accuracy: float


def fit_boundary(
    codes: Tensor, scores: Tensor, share: float = SHARE, rng: torch.Generator | None = None
) -> Boundary:
    """Return the plane that separates the codes with the highest scores from those with the lowest.

    Section 3.2; the samples are chosen as in the release's train_boundary.

    Args:
        codes: [N,w_dim].
        scores: [N], NaN if unknown.
        share: share of the known scores at each end, in (0,0.5].
        rng: splits the chosen codes into fitted and held-out ones; None seeds one with 0.

    Returns:
        The plane, in the units of `codes`.

    Raises:
        InverterError: too few scores are known, or they do not differ.
    """
    known = scores.isfinite()
    codes, scores = codes[known], scores[known]
    count = int(len(codes) * share)
    if count < 4:
        raise InverterError(f"{len(codes)} faces with a score are too few; {round(4 / share)} is the least")
    order = scores.argsort(stable=True)
    low, high = order[:count], order[-count:]
    if scores[low[-1]] >= scores[high[0]]:
        raise InverterError("the scores of too many faces are equal; there is nothing to tell apart")
    rng = rng or torch.Generator().manual_seed(0)
    chosen = torch.cat([part[torch.randperm(count, generator=rng)] for part in (low, high)])
    sign = torch.cat([-torch.ones(count), torch.ones(count)])
    fitted = torch.arange(count).repeat(2) < max(1, min(count - 1, round(TRAINED * count)))
    normal, bias = linear_svm(codes[chosen[fitted]], sign[fitted])
    held = ~fitted
    right = (codes[chosen[held]].double() @ normal + bias).sign() == sign[held]
    length = normal.norm()
    return Boundary((normal / length).float(), float(bias / length), float(right.float().mean()))


def linear_svm(codes: Tensor, sign: Tensor, penalty: float = PENALTY) -> tuple[Tensor, Tensor]:
    """Return normal [D] and bias of the linear support vector machine with squared hinge loss.

    Minimises 1/2 |n|^2 + penalty * sum_i max(0, 1 - y_i (n . x_i + b))^2 over codes x [N,D] and signs y [N]
    (+1 or -1), by L-BFGS in float64. The release uses the plain hinge, which is not smooth.
    """
    x, y = codes.double(), sign.double()
    middle, scale = x.mean(0), x.std()
    x = (x - middle) / scale  # scales the first steps; undone in the penalty and below
    normal, bias = x.new_zeros(x.shape[1], requires_grad=True), x.new_zeros((), requires_grad=True)
    solver = torch.optim.LBFGS(
        [normal, bias],
        max_iter=_STEPS,
        history_size=30,
        tolerance_grad=1e-9,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        solver.zero_grad()
        short = (1 - y * (x @ normal + bias)).clamp_min(0)
        value = (normal.square().sum() / scale.square() / 2 + penalty * short.square().sum()) / len(x)
        value.backward()
        return value

    solver.step(loss)
    found = normal.detach() / scale
    return found, bias.detach() - found @ middle


def conditional(direction: Tensor, conditions: Tensor) -> Tensor:
    """Return a direction [D] that does not change other attributes [M,D], to first order.

    The result n - (projection of n onto the span of the others) has unit length (section 3.3). For one other
    direction it is n1 - (n1 . n2) n2.

    Raises:
        InverterError: the direction lies in the span of the others.
    """
    if not len(conditions):
        return direction / direction.norm()
    _, values, basis = torch.linalg.svd(conditions.double(), full_matrices=False)
    basis = basis[values > 1e-6 * values[0]]
    left = direction.double() - basis.T @ (basis @ direction.double())
    if left.norm() < 1e-4 * direction.norm():
        raise InverterError("nothing is left of the direction: it lies in the plane of the others")
    return (left / left.norm()).to(direction)
