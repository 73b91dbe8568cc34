"""Calls on which a compiled renderer must equal the reference: for the emulated GPU and a real one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from inverters.rendering import reference
from inverters.rendering.cameras import default_intrinsics, look_at
from inverters.rendering.fields import Decoder, Field
from inverters.rendering.fused import render_rays
from inverters.rendering.rays import make_rays
from inverters.rendering.sampling import Sampling


@dataclass(frozen=True)
class Case:
    """One call: what is rendered, and which gradients are wanted."""

    name: str
    colours: int = 32
    frames: int = 2
    rays: tuple[int, int] = (5, 7)
    coarse: int = 8
    fine: int = 6
    two: bool = True
    transmittance: str = "product"
    axes: str = "original"
    white: bool = False
    alone: bool = False
    side: int = 9  # of the planes, in texels; a second field's have 3 more
    shared: tuple[bool, bool] = (False, True)  # one tri-plane for all frames, of each field
    framed_bias: bool = True  # the second field's
    wanted: str = "PDPDR"  # gradients: planes and decoder of each field, rays; a dot leaves one out
    stacked: bool = False  # a texel's channels of all three planes side by side in memory
    random: bool = False  # depths and positions drawn at random
    box: float = 1.0
    density: float = 0.0  # added to raw densities
    blend: float = 0.0  # added before the blend's sigmoid


CASES = (
    Case("one field", two=False, frames=1, fine=0, coarse=9),
    Case("one field, three colours", two=False, colours=3, shared=(True, True), white=True),
    Case("two fields", coarse=24, fine=24, stacked=True),
    Case("three colours, sum, fixed axes", colours=3, coarse=24, fine=24, transmittance="sum", axes="fixed"),
    Case("alone on white", alone=True, white=True, frames=1, coarse=12, fine=9),
    Case("alone, sum", alone=True, transmittance="sum", frames=1, framed_bias=False),
    Case("tiles", frames=1, rays=(16, 16), coarse=6, fine=5, wanted="PDP.."),
    Case("many samples", frames=1, rays=(2, 3), coarse=40, fine=30),
    Case("positions in no order", random=True, coarse=20, fine=17, frames=1),
    Case("only the second field's", wanted="..PD.", shared=(True, False)),
    Case("only planes", wanted="P.P..", alone=True, frames=1),
    Case("only rays", wanted="....R", axes="fixed", two=False),
    Case("cube smaller than the rays", box=0.45, coarse=16, fine=8),
    Case("nothing there", density=-300.0, frames=1),
    Case("opaque", density=40.0, frames=1, transmittance="sum"),
    Case("opaque, product", density=40.0, frames=1, coarse=20),
    Case("blend of one", blend=120.0, frames=1),
    Case("blend of zero", blend=-120.0, frames=1, alone=True),
)

OUTPUTS = (
    "features",
    "depth",
    "opacity",
    "blend",
    "ood_opacity",
    "weights",
    "depths",
    "sample_blend",
    "ood_features",
)

Results = tuple[dict[str, Tensor], dict[str, Tensor]]


@dataclass(frozen=True)
class Inputs:
    """Tensors of a case, in double precision on the CPU."""

    leaves: dict[str, Tensor]
    sampling: Sampling


def make_inputs(case: Case, seed: int = 0) -> Inputs:
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return torch.randn(shape, generator=g, dtype=torch.float64) * scale

    leaves = {}
    for place in range(1 + case.two):
        frames = 1 if case.shared[place] else case.frames
        outputs = 1 + case.colours + place
        bias = (case.frames, 64) if place and case.framed_bias else (64,)
        side = case.side + 3 * place
        field = {
            "planes": normal(frames, 3, 32, side, side),
            "weight1": normal(64, 32, scale=0.5),
            "bias1": normal(*bias, scale=0.3),
            "weight2": normal(outputs, 64, scale=0.3),
            "bias2": normal(outputs, scale=0.3),
        }
        field["bias2"][0] += case.density
        if place:
            field["bias2"][-1] += case.blend
        leaves.update({f"{place} {name}": tensor for name, tensor in field.items()})
    n = case.frames
    poses = look_at([0.2, -0.3][:n], [0.1, 0.05][:n]).double()
    leaves["origins"], leaves["directions"] = make_rays(poses, default_intrinsics(n).double(), case.rays)
    drawn = {}
    if case.random:
        count = case.rays[0] * case.rays[1]
        for name, samples in (("jitter", case.coarse), ("u", case.fine)):
            # Both precisions must read the same numbers.
            drawn[name] = torch.rand(n, count, samples, generator=g, dtype=torch.float32)
    sampling = Sampling(
        coarse=case.coarse,
        fine=case.fine,
        white_back=case.white,
        plane_axes=case.axes,  # type: ignore[arg-type]
        box_warp=case.box,
        **drawn,
    )
    return Inputs(leaves, sampling)


def render(case: Case, inputs: Inputs, backend: str, device: str, dtype: torch.dtype) -> Results:
    """Outputs, and gradients of their sum with fixed random factors, in double precision on the CPU."""
    wanted = {
        name: flag != "."
        for names, flag in zip(
            (("0 planes",), ("0 w", "0 b"), ("1 planes",), ("1 w", "1 b"), ("origins", "directions")),
            case.wanted,
            strict=True,
        )
        for name in names
    }
    leaves = {
        name: tensor.to(device, dtype, copy=True).requires_grad_(
            any(w and name.startswith(k) for k, w in wanted.items())
        )
        for name, tensor in inputs.leaves.items()
    }

    def field(place: int) -> Field:
        names = ("weight1", "bias1", "weight2", "bias2")
        planes = leaves[f"{place} planes"]
        if case.stacked:  # as channels of one image with channels last in memory
            n, _, channels, side, _ = planes.shape
            image = planes.reshape(n, 3 * channels, side, side).contiguous(memory_format=torch.channels_last)
            planes = image.reshape(n, 3, channels, side, side)
        return Field(planes, Decoder(*(leaves[f"{place} {name}"] for name in names)))

    job = (
        field(0),
        leaves["origins"],
        leaves["directions"],
        inputs.sampling,
        field(1) if case.two else None,
        case.transmittance,
        True,
        case.alone,
    )
    if backend == "reference":
        result = reference.render_rays(*job)  # type: ignore[arg-type]
    else:
        result = render_rays(*job, backend=backend)  # type: ignore[arg-type]
    found = {name: getattr(result, name) for name in OUTPUTS if getattr(result, name) is not None}
    g = torch.Generator().manual_seed(1)
    loss = torch.zeros((), dtype=dtype, device=device)
    for name, tensor in found.items():
        if name != "depths":
            loss = loss + (tensor * torch.randn(tensor.shape, generator=g).to(tensor)).sum()
    loss.backward()
    grads = {name: leaf.grad for name, leaf in leaves.items() if leaf.requires_grad}
    for name, grad in grads.items():
        if grad is None:
            raise AssertionError(f"{case.name}: no gradient of {name}")
    return (
        {name: tensor.detach().cpu().double() for name, tensor in found.items()},
        {name: grad.cpu().double() for name, grad in grads.items() if grad is not None},
    )


def differences(found: Results, expected: Results) -> dict[str, float]:
    """Relative L2 distance of every output and, with a `d`, of every gradient."""
    distances = {}
    for mark, ours, theirs in (("", found[0], expected[0]), ("d ", found[1], expected[1])):
        if ours.keys() != theirs.keys():
            raise AssertionError(f"{sorted(ours)} is not {sorted(theirs)}")
        for name, tensor in theirs.items():
            if not ours[name].isfinite().all():
                distances[mark + name] = float("inf")
                continue
            distance, size = (ours[name] - tensor).norm().item(), tensor.norm().item()
            # What is zero but for rounding has no relative distance.
            distances[mark + name] = distance / max(size, 1e-6 * tensor.numel() ** 0.5)
    return distances


TOLERANCE = {"fp32": (1e-4, 1e-3), "tf32": (1e-2, 5e-2)}
"""Of outputs and of gradients, against the reference in double precision."""


def failures(distances: dict[str, float], precision: str = "fp32") -> dict[str, float]:
    """The distances past the tolerance."""
    of_outputs, of_gradients = TOLERANCE[precision]
    return {
        name: distance
        for name, distance in distances.items()
        if not distance <= (of_gradients if name.startswith("d ") else of_outputs)
    }
