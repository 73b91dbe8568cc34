"""Calls on which every renderer must equal the reference: for the CPU, the emulated GPU and a real one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from inverters.rendering.cameras import default_intrinsics, look_at
from inverters.rendering.fields import Decoder, Field
from inverters.rendering.fused import render_rays
from inverters.rendering.rays import make_rays
from inverters.rendering.reference import RayResult
from inverters.rendering.sampling import Sampling

CHANNELS, HIDDEN = 32, 64
OUTPUTS = ("features", "depth", "opacity", "blend", "ood_opacity", "weights", "sample_blend", "ood_features")
"""What carries a gradient."""
LEAVES = ("planes", "weight1", "bias1", "weight2", "bias2")

TOLERANCE = {
    "fp64": (1e-11, 1e-10),
    "fp32": (5e-5, 1e-4),
    "tf32": (1e-2, 5e-2),
}
"""Greatest relative L2 error of outputs and of gradients against the reference in double precision. A density
gain of 200 and intervals of a hundred-thousandth of a unit multiply rounding by as much."""

Results = tuple[dict[str, Tensor], dict[str, Tensor]]
"""Outputs, and gradients of the leaves, by name, in double precision on the CPU."""


@dataclass(frozen=True)
class Case:
    """One call: sizes, choices, which gradients are wanted, and the seed of everything random in it."""

    name: str = ""
    frames: int = 1
    size: tuple[int, int] = (5, 7)
    coarse: int = 8
    fine: int = 6
    colours: int = 3
    planes: int = 9
    two: bool = False
    ood_planes: int = 6
    own_planes: tuple[bool, bool] = (True, False)
    """For each field: planes for each frame, or one for all."""
    framed_bias: bool = True
    """The second field's first bias has a row for each frame."""
    wanted: str = "PDPDR"
    """Gradients: planes and decoder of each field, rays; a dot leaves one out."""
    stacked: bool = False
    """A texel's channels of all three planes side by side in memory."""
    transmittance: str = "product"
    alone: bool = False
    density_bias: float = 0.0
    density_gain: float = 1.0
    ood_density_bias: float = 0.0
    hidden_gain: float = 1.0
    """Of what enters a hidden unit: 4 lets them saturate on both sides."""
    blend_bias: float = 0.0
    drawn: bool = False
    """Depths and positions drawn at random, the positions in no order."""
    sampling: dict[str, Any] = field(default_factory=dict)
    seed: int = 0


CASES = [
    Case("one field, coarse only", fine=0, colours=32),
    Case("one field, frames", frames=2, size=(3, 5)),
    Case("shared planes", frames=3, own_planes=(False, False), two=True),
    Case("planes of each frame", frames=2, own_planes=(True, True), two=True, framed_bias=False),
    Case("two fields", frames=2, two=True, colours=32, alone=True, stacked=True),
    Case("sum", frames=2, two=True, transmittance="sum", sampling={"plane_axes": "fixed"}),
    Case("white", two=True, alone=True, sampling={"white_back": True}),
    Case("drawn", frames=2, two=True, coarse=13, fine=17, drawn=True),
    Case("tiles", size=(16, 16), coarse=6, fine=5, two=True, wanted="PDP..", colours=32),
    Case("many samples", size=(2, 3), coarse=70, fine=61, two=True, colours=32),
    Case("beyond the cube", two=True, sampling={"box_warp": 0.25}),
    Case("one texel", planes=1, ood_planes=1, two=True),
    Case("one ray", size=(1, 1), two=True),
    Case("only the second field's", frames=2, two=True, wanted="..PD."),
    Case("only planes", two=True, alone=True, wanted="P.P.."),
    Case("only rays", frames=2, wanted="....R", sampling={"plane_axes": "fixed"}),
    Case("empty", density_bias=-1e4, two=True, ood_density_bias=-1e4),
    Case("solid", density_bias=1e4, two=True, alone=True),
    Case("both solid", density_bias=1e4, two=True, ood_density_bias=1e4),
    Case("both solid, sum", density_bias=40, two=True, ood_density_bias=40, transmittance="sum"),
    Case("surfaces", density_gain=200.0, two=True, coarse=24, fine=24, colours=32),
    Case("hidden units far out", two=True, hidden_gain=4.0, colours=32),
    Case("hidden units near zero", two=True, hidden_gain=1e-3),
    Case("blend of zero", two=True, blend_bias=-1e3, alone=True),
    Case("blend of one", two=True, blend_bias=1e3),
    Case("equal depths", two=True, sampling={"ray_start": 2.7, "ray_end": 2.7}),
]


class Scene:
    """The tensors of a case in double precision, `leaves` in the order of `names`, and its sampling."""

    def __init__(self, case: Case) -> None:
        self.case = case
        rng = torch.Generator().manual_seed(case.seed)

        def normal(*shape: int, scale: float = 1.0) -> Tensor:
            return torch.randn(*shape, generator=rng, dtype=torch.float64) * scale

        def tensors(frames: int, side: int, outputs: int, biases: int, density: float) -> list[Tensor]:
            last = normal(outputs, scale=0.3)
            last[0] += density
            return [
                normal(frames, 3, CHANNELS, side, side),
                normal(HIDDEN, CHANNELS, scale=0.5 * case.hidden_gain),
                normal(*((biases, HIDDEN) if biases else (HIDDEN,)), scale=0.3 * case.hidden_gain),
                normal(outputs, HIDDEN, scale=0.3 / case.hidden_gain),
                last,
            ]

        n = case.frames
        own = [n if each else 1 for each in case.own_planes]
        self.leaves = tensors(own[0], case.planes, 1 + case.colours, 0, case.density_bias)
        self.leaves[3][0] *= case.density_gain
        if case.two:
            biases = n if case.framed_bias else 0
            other = tensors(own[1], case.ood_planes, 2 + case.colours, biases, case.ood_density_bias)
            other[4][-1] += case.blend_bias
            self.leaves += other
        poses = look_at(torch.linspace(-0.3, 0.4, n), torch.linspace(0.1, -0.05, n)).double()
        self.leaves += [t.clone() for t in make_rays(poses, default_intrinsics(n).double(), case.size)]
        draws: dict[str, Tensor] = {}
        if case.drawn:
            rays = case.size[0] * case.size[1]
            for name, samples in (("jitter", case.coarse), ("u", case.fine)):
                # Both precisions must read the same numbers.
                draws[name] = torch.rand(n, rays, samples, generator=rng)
        self.sampling = Sampling(coarse=case.coarse, fine=case.fine, **case.sampling, **draws)

    @property
    def names(self) -> list[str]:
        """Of the leaves: `0 planes` ... of the first field, `1 planes` ... of the second, the rays."""
        fields = [f"{place} {name}" for place in range(1 + self.case.two) for name in LEAVES]
        return [*fields, "origins", "directions"]

    def _wanted(self, name: str) -> bool:
        place, _, what = name.partition(" ")
        kind = 4 if not what else 2 * int(place) + (what != "planes")
        return self.case.wanted[kind] != "."

    def _field(self, leaves: list[Tensor]) -> Field:
        planes, *weights = leaves
        if self.case.stacked:  # as channels of one image with channels last in memory
            image = planes.flatten(1, 2).contiguous(memory_format=torch.channels_last)
            planes = image.unflatten(1, (3, CHANNELS))
        return Field(planes, Decoder(*weights))

    def render(self, leaves: list[Tensor], backend: str) -> RayResult:
        """The case from these leaves."""
        return render_rays(
            self._field(leaves[:5]),
            leaves[-2],
            leaves[-1],
            self.sampling,
            self._field(leaves[5:10]) if self.case.two else None,
            self.case.transmittance,  # type: ignore[arg-type]
            want_samples=True,
            want_ood_features=self.case.alone,
            backend=backend,  # type: ignore[arg-type]
        )

    def run(self, backend: str, dtype: torch.dtype = torch.float64, device: str = "cpu") -> Results:
        """Outputs, and the gradients wanted of a random sum of them."""
        named = {
            name: t.detach().to(device, dtype, copy=True).requires_grad_(self._wanted(name))
            for name, t in zip(self.names, self.leaves, strict=True)
        }
        found = self.render(list(named.values()), backend)
        rng = torch.Generator().manual_seed(self.case.seed + 1)
        outputs = {name: t for name in OUTPUTS if (t := getattr(found, name)) is not None}
        total = torch.zeros((), dtype=dtype, device=device)
        for t in outputs.values():
            total = total + (t * torch.randn(t.shape, generator=rng, dtype=torch.float64).to(t)).sum()
        total.backward()
        assert found.depths is not None
        outputs["depths"] = found.depths
        gradients = {
            name: torch.zeros_like(t) if t.grad is None else t.grad
            for name, t in named.items()
            if t.requires_grad
        }
        return (
            {name: t.detach().cpu().double() for name, t in outputs.items()},
            {name: t.cpu().double() for name, t in gradients.items()},
        )


def distance(found: Tensor, want: Tensor) -> float:
    """Greatest of relative L2 error, turn of direction and signed bias; infinite for what is not a number."""
    found, want = found.flatten(), want.flatten()
    if not torch.isfinite(found).all():
        return float("inf")
    size = float(want.norm())
    # What is zero but for rounding has no relative error, and no direction.
    error = float((found - want).norm()) / max(size, 1e-6 * max(want.numel(), 1) ** 0.5)
    if size < 1e-3:
        return error
    turn = 1 - float(found @ want) / (float(found.norm()) * size + 1e-300)
    bias = abs(float((found - want).sum())) / float(want.abs().sum())
    return max(error, turn, bias)


def differences(found: Results, expected: Results) -> dict[str, float]:
    """`distance` of every output and, with a `d`, of every gradient."""
    distances = {}
    for mark, ours, theirs in (("", found[0], expected[0]), ("d ", found[1], expected[1])):
        assert ours.keys() == theirs.keys(), f"{sorted(ours)} is not {sorted(theirs)}"
        distances |= {mark + name: distance(ours[name], theirs[name]) for name in theirs}
    return distances


def failures(distances: dict[str, float], precision: str) -> dict[str, float]:
    """The distances past the tolerance."""
    of_outputs, of_gradients = TOLERANCE[precision]
    limits = {name: of_gradients if name.startswith("d ") else of_outputs for name in distances}
    return {name: value for name, value in distances.items() if not value <= limits[name]}


def compared(
    case: Case, backend: str, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> dict[str, float]:
    """Distances of a backend from the reference in double precision."""
    return differences(Scene(case).run(backend, dtype, device), Scene(case).run("reference"))
