"""Random fields, rays and comparisons for the renderers' tests."""

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

TOLERANCE: dict[torch.dtype, tuple[float, float]] = {
    torch.float64: (1e-12, 1e-10),
    torch.float32: (5e-5, 1e-4),
}
"""Greatest relative L2 error of outputs and of gradients, by the precision of the call. A density gain of 200
and intervals of a hundred-thousandth of a unit multiply rounding by as much."""


@dataclass(frozen=True)
class Case:
    """One call: sizes, choices, and the seed of everything random in it."""

    name: str = ""
    frames: int = 1
    size: tuple[int, int] = (5, 7)
    coarse: int = 8
    fine: int = 6
    colours: int = 3
    planes: int = 9
    two: bool = False
    ood_planes: int = 6
    own_planes: bool = True
    """Planes of the first field for each frame; else one for all."""
    transmittance: str = "product"
    alone: bool = False
    density_bias: float = 0.0
    density_gain: float = 1.0
    ood_density_bias: float = 0.0
    blend_bias: float = 0.0
    drawn: bool = False
    """Depths and positions drawn at random, the positions in no order."""
    sampling: dict[str, Any] = field(default_factory=dict)
    seed: int = 0


CASES = [
    Case("one field, coarse only", fine=0, colours=32),
    Case("one field, frames", frames=2, size=(3, 5)),
    Case("shared planes", frames=3, own_planes=False, two=True),
    Case("two fields", frames=2, two=True, colours=32, alone=True),
    Case("sum", frames=2, two=True, transmittance="sum", sampling={"plane_axes": "fixed"}),
    Case("white", two=True, alone=True, sampling={"white_back": True}),
    Case("drawn", frames=2, two=True, coarse=13, fine=17, drawn=True),
    Case("many samples", size=(2, 3), coarse=70, fine=61, two=True, colours=32),
    Case("beyond the cube", two=True, sampling={"box_warp": 0.25}),
    Case("one texel", planes=1, ood_planes=1, two=True),
    Case("one ray", size=(1, 1), two=True),
    Case("empty", density_bias=-1e4, two=True, ood_density_bias=-1e4),
    Case("solid", density_bias=1e4, two=True, alone=True),
    Case("both solid", density_bias=1e4, two=True, ood_density_bias=1e4),
    Case("surfaces", density_gain=200.0, two=True, coarse=24, fine=24, colours=32),
    Case("blend of zero", two=True, blend_bias=-1e3, alone=True),
    Case("blend of one", two=True, blend_bias=1e3),
    Case("equal depths", two=True, sampling={"ray_start": 2.7, "ray_end": 2.7}),
]


class Scene:
    """The tensors of a case in double precision; `leaves` are those that gradients are taken of."""

    def __init__(self, case: Case) -> None:
        self.case = case
        rng = torch.Generator().manual_seed(case.seed)

        def normal(*shape: int, scale: float = 1.0) -> Tensor:
            return torch.randn(*shape, generator=rng, dtype=torch.float64) * scale

        def decoder(outputs: int, frames: int, density: float) -> list[Tensor]:
            bias = (frames, HIDDEN) if frames else (HIDDEN,)
            last = normal(outputs, scale=0.3)
            last[0] += density
            return [
                normal(HIDDEN, CHANNELS, scale=0.5),
                normal(*bias, scale=0.3),
                normal(outputs, HIDDEN, scale=0.3),
                last,
            ]

        n = case.frames
        own = decoder(1 + case.colours, 0, case.density_bias)
        own[2][0] *= case.density_gain
        planes = normal(n if case.own_planes else 1, 3, CHANNELS, case.planes, case.planes)
        self.leaves = [planes, *own]
        if case.two:
            other = decoder(2 + case.colours, n, case.ood_density_bias)
            other[3][-1] += case.blend_bias
            self.leaves += [normal(1, 3, CHANNELS, case.ood_planes, case.ood_planes), *other]
        poses = look_at(torch.linspace(-0.3, 0.4, n), torch.linspace(0.1, -0.05, n)).double()
        self.leaves += [t.clone() for t in make_rays(poses, default_intrinsics(n).double(), case.size)]
        rays = case.size[0] * case.size[1]
        draws: dict[str, Tensor] = {}
        if case.drawn:
            draws = {
                "jitter": torch.rand(n, rays, case.coarse, generator=rng, dtype=torch.float64),
                "u": torch.rand(n, rays, case.fine, generator=rng, dtype=torch.float64),
            }
        self.sampling = Sampling(coarse=case.coarse, fine=case.fine, **case.sampling, **draws)

    def render(self, leaves: list[Tensor], backend: str) -> RayResult:
        """The case from these leaves."""
        ood = Field(leaves[5], Decoder(*leaves[6:10])) if self.case.two else None
        return render_rays(
            Field(leaves[0], Decoder(*leaves[1:5])),
            leaves[-2],
            leaves[-1],
            self.sampling,
            ood,
            self.case.transmittance,  # type: ignore[arg-type]
            want_samples=True,
            want_ood_features=self.case.alone,
            backend=backend,  # type: ignore[arg-type]
        )

    def run(
        self, backend: str, dtype: torch.dtype = torch.float64, device: str = "cpu"
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Outputs by name, and the gradients of a random sum of them in the order of `leaves`."""
        leaves = [t.detach().to(device, dtype).requires_grad_() for t in self.leaves]
        found = self.render(leaves, backend)
        rng = torch.Generator().manual_seed(self.case.seed + 1)
        present = {name: t for name in OUTPUTS if (t := getattr(found, name)) is not None}
        total = sum(
            (t * torch.randn(t.shape, generator=rng, dtype=torch.float64).to(t)).sum()
            for t in present.values()
        )
        assert isinstance(total, Tensor)
        total.backward()
        assert found.depths is not None
        outputs = {name: t.detach() for name, t in present.items()} | {"depths": found.depths}
        return outputs, [torch.zeros_like(t) if t.grad is None else t.grad for t in leaves]


def assert_agree(name: str, found: Tensor, want: Tensor, tolerance: float) -> None:
    """Relative L2 error, direction and signed bias of `found` [any shape] against `want`."""
    found, want = found.detach().cpu().double().flatten(), want.detach().cpu().double().flatten()
    assert found.shape == want.shape, name
    assert torch.isfinite(found).all(), name
    size, error = want.norm(), (found - want).norm()
    # Gradients that vanish in the reference vanish here too, but for rounding.
    assert error <= tolerance * size + tolerance * 1e-3, f"{name}: {float(error):.2e} of {float(size):.2e}"
    if size > 1e-3:
        assert found @ want / (found.norm() * size) > 1 - tolerance, name
        bias = (found - want).sum().abs() / want.abs().sum()
        assert bias <= tolerance, f"{name}: bias {float(bias):.2e}"


def assert_same_render(
    scene: Scene, backend: str, dtype: torch.dtype = torch.float64, device: str = "cpu"
) -> None:
    """Outputs and gradients of a backend equal the reference's in double precision."""
    outputs, gradients = scene.run(backend, dtype, device)
    want_outputs, want_gradients = scene.run("reference")
    of_outputs, of_gradients = TOLERANCE[dtype]
    assert outputs.keys() == want_outputs.keys()
    for name, want in want_outputs.items():
        assert_agree(name, outputs[name], want, of_outputs)
    for place, (found, want) in enumerate(zip(gradients, want_gradients, strict=True)):
        assert_agree(f"gradient {place}", found, want, of_gradients)
