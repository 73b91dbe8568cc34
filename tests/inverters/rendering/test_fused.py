"""The compiled renderer for CPUs against the reference, on every instruction set that this processor has."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from inverters.rendering import backends, build, compiled
from inverters.rendering.backends import Library
from inverters.rendering.fields import Decoder, Field
from tests.inverters.rendering.cases import (
    CASES,
    OUTPUTS,
    Case,
    Scene,
    compared,
    distance,
    failures,
)

BUILT = build.library_path("cpu")
pytestmark = pytest.mark.skipif(
    not BUILT.exists(), reason="no compiled CPU renderer (no C++ compiler at install)"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("renderers")


@pytest.fixture(params=["avx512", "avx2", "plain"])
def isa(request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The renderer as a processor with this instruction set would load it."""
    copy = folder / f"{request.param}.so"  # a library is loaded once for each path
    if not copy.exists():
        shutil.copy(BUILT, copy)
    monkeypatch.setenv("INVID_ISA", request.param)
    found = Library(copy)
    if found.isa != request.param:
        pytest.skip(f"this processor has no {request.param}")
    monkeypatch.setattr(backends, "library", lambda device: found)
    return request.param


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_equals_the_reference(isa: str, case: Case) -> None:
    assert not failures(compared(case, "cpu"), "fp32")


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_the_same_code_in_double_precision_equals_the_reference(case: Case) -> None:
    assert not failures(compared(case, "cpu", torch.float64), "fp64")


@settings(max_examples=60)
@given(
    st.builds(
        Case,
        frames=st.integers(1, 3),
        size=st.tuples(st.integers(1, 4), st.integers(1, 6)),
        coarse=st.integers(4, 20),
        fine=st.integers(0, 19),
        colours=st.sampled_from([3, 32]),
        planes=st.integers(1, 12),
        two=st.booleans(),
        ood_planes=st.integers(1, 12),
        own_planes=st.tuples(st.booleans(), st.booleans()),
        framed_bias=st.booleans(),
        stacked=st.booleans(),
        transmittance=st.sampled_from(["product", "sum"]),
        alone=st.booleans(),
        drawn=st.booleans(),
        seed=st.integers(0, 2**20),
    )
)
def test_any_shape(case: Case) -> None:
    assert not failures(compared(case, "cpu", torch.float64), "fp64")


@pytest.mark.parametrize("transmittance", ["product", "sum"])
def test_gradcheck_of_the_kernel(transmittance: str) -> None:
    # Fine depths are constants of the backward pass, so the numerical derivative must not move them.
    case = Case(
        size=(1, 2), fine=0, two=True, alone=True, transmittance=transmittance, planes=4, ood_planes=3
    )
    scene = Scene(case)
    leaves = [t.requires_grad_() for t in scene.leaves]

    def render(*values: Tensor) -> tuple[Tensor, ...]:
        found = scene.render(list(values), "cpu")
        return tuple(getattr(found, name) for name in OUTPUTS)

    assert torch.autograd.gradcheck(render, leaves, fast_mode=True)


def test_operator_keeps_the_rules_of_torch() -> None:
    scene = Scene(Case(frames=2, two=True, size=(2, 3)))
    field, ood = scene.leaves[:5], scene.leaves[5:10]
    field[2] = field[2][None]
    depths, limits = scene.sampling.coarse_depths(2, 6, field[0])
    positions = scene.sampling.fine_positions(2, 6, field[0])
    field[0], ood[0] = (t.permute(0, 1, 3, 4, 2).contiguous() for t in (field[0], ood[0]))
    for tensor in (*field, *ood):
        tensor.requires_grad_()
    rays = [*(t.contiguous() for t in scene.leaves[-2:]), depths, positions, limits]
    torch.library.opcheck(compiled.render, (field, ood, rays, 1.0, 0, compiled.SAMPLES))


def test_compiled_graphs_trace_through_it() -> None:
    scene = Scene(Case(two=True, size=(2, 3)))
    expected = scene.render(scene.leaves, "cpu").features
    traced = torch.compile(
        lambda *t: scene.render(list(t), "cpu").features, backend="aot_eager", fullgraph=True
    )
    assert torch.equal(traced(*scene.leaves), expected)


def on_border(resolution: int) -> tuple[Tensor, Tensor]:
    """Rays along z through centres and borders of texels, and through the cube's own faces."""
    steps = (torch.arange(2 * resolution + 1, dtype=torch.float64) / (2 * resolution)) - 0.5
    x, y = torch.meshgrid(steps, steps, indexing="ij")
    origins = torch.stack([x.flatten(), y.flatten(), torch.full((x.numel(),), 1.0, dtype=torch.float64)], -1)
    return origins[None], torch.tensor([0.0, 0.0, -1.0], dtype=torch.float64).expand(1, len(origins), 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_samples_exactly_on_the_borders_of_texels(dtype: torch.dtype) -> None:
    scene = Scene(Case(planes=8, two=True, ood_planes=4))
    scene.leaves[-2:] = list(on_border(8))
    # Depths in sixteenths: every sample's z lies on a centre or border too.
    scene.sampling = replace(
        scene.sampling, coarse=9, ray_start=0.5, ray_end=1.5, jitter=torch.zeros(1, 1, 1)
    )
    rays = scene.leaves[-2:]
    scene.leaves = scene.leaves[:-2]

    def run(backend: str, dtype: torch.dtype) -> list[Tensor]:
        leaves = [t.detach().to(dtype).requires_grad_() for t in scene.leaves]
        found = scene.render([*leaves, *(r.to(dtype) for r in rays)], backend)
        (found.features.square().sum() + found.depth.sum()).backward()
        return [found.features, found.depth, *(t.grad for t in leaves if t.grad is not None)]

    # A lookup is continuous at a border; its derivative by the ray is not, and is not asked for.
    limit = 2e-5 if dtype == torch.float32 else 1e-11
    for found, want in zip(run("cpu", dtype), run("reference", torch.float64), strict=True):
        assert distance(found.detach().double(), want.detach()) < limit


def test_what_is_not_a_number_is_not_hidden(isa: str) -> None:
    """A texel that is not a number shows in the rays that meet it and in no others."""
    scene = Scene(Case(planes=8, size=(6, 6), two=True))
    scene.leaves[0][0, 0, 5, 4, 4] = float("nan")
    scene.leaves[0][0, 1, 7, 1, 6] = float("inf")
    seen = [
        scene.render([t.to(d) for t in scene.leaves], b)
        for b, d in (("cpu", torch.float32), ("reference", torch.float64))
    ]
    ours, theirs = (torch.isfinite(s.features).all(-1) for s in seen)
    assert torch.equal(ours, theirs)
    assert 0 < int(ours.sum()) < ours.numel()


def test_no_rays_give_empty_results_and_no_gradient() -> None:
    scene = Scene(Case(two=True, alone=True))
    scene.leaves[-2:] = [t[:, :0] for t in scene.leaves[-2:]]
    outputs, gradients = scene.run("cpu")
    wanted, _ = scene.run("reference")
    assert {k: v.shape for k, v in outputs.items()} == {k: v.shape for k, v in wanted.items()}
    assert not any(g.any() for g in gradients.values())


def test_strided_inputs() -> None:
    scene = Scene(Case(frames=2, two=True, own_planes=(True, False)))
    plain = scene.run("cpu")
    leaves = scene.leaves
    leaves[0] = torch.cat([leaves[0]] * 2, 2)[:, :, :32]  # channels of a larger tensor
    leaves[5] = leaves[5].flip(3).flip(3).mT.contiguous().mT
    for place in (1, 3, 6, 8):
        leaves[place] = leaves[place].T.contiguous().T
    leaves[-1] = leaves[-1].transpose(0, 1).contiguous().transpose(0, 1)
    strided = scene.run("cpu")
    assert all(torch.equal(strided[0][name], plain[0][name]) for name in plain[0])
    assert all(torch.equal(strided[1][name], plain[1][name]) for name in strided[1])
    assert torch.equal(scene.render(leaves, "cpu").features, plain[0]["features"])  # not copied before


def test_frames_of_expanded_planes_have_gradients_of_their_own() -> None:
    scene = Scene(Case(frames=3, own_planes=(False, False), two=True))
    found: dict[str, list[Tensor]] = {}
    for backend in ("cpu", "reference"):
        leaves = [t.clone().requires_grad_() for t in scene.leaves]
        expanded = leaves[0].expand(3, -1, -1, -1, -1)
        features = scene.render([expanded, *leaves[1:]], backend).features
        found[backend] = list(torch.autograd.grad(features.square().sum(), [expanded, leaves[0], leaves[5]]))
    for ours, want in zip(found["cpu"], found["reference"], strict=True):
        assert distance(ours, want) < 1e-10


def test_channels_last_planes_are_read_where_they_lie() -> None:
    """What lies as the kernel wants it is not copied; its gradient lies the same way."""
    texels = torch.randn(1, 3, 16, 16, 32, dtype=torch.float64, requires_grad=True)
    scene = Scene(Case(planes=16))
    leaves = [texels.permute(0, 1, 4, 2, 3), *scene.leaves[1:]]
    prepared = Field(leaves[0], Decoder(*leaves[1:5]))
    from inverters.rendering.fused import _tensors

    assert _tensors(prepared)[0].data_ptr() == texels.data_ptr()
    scene.render(leaves, "cpu").features.sum().backward()
    assert texels.grad is not None and texels.grad.is_contiguous()


def test_only_what_is_asked_for_has_a_gradient() -> None:
    scene = Scene(Case(two=True))
    for wanted in ({0}, {5}, {6, 7}, {len(scene.leaves) - 1}):
        leaves = [t.clone().requires_grad_(place in wanted) for place, t in enumerate(scene.leaves)]
        scene.render(leaves, "cpu").features.sum().backward()
        assert {place for place, t in enumerate(leaves) if t.grad is not None} == wanted
    with torch.no_grad():
        assert not scene.render(scene.leaves, "cpu").features.requires_grad


def test_depths_carry_no_gradient() -> None:
    scene = Scene(Case())
    leaves = [t.requires_grad_() for t in scene.leaves]
    found = scene.render(leaves, "cpu")
    assert found.depths is not None and found.weights is not None
    (found.weights.sum() + 0 * found.features.sum()).backward()
    assert leaves[0].grad is not None and leaves[0].grad.any()
    before = leaves[0].grad.clone()
    leaves[0].grad = None
    found = scene.render(leaves, "cpu")
    assert found.depths is not None and found.weights is not None
    (found.weights.sum() + found.depths.sum()).backward()
    assert leaves[0].grad is not None and torch.equal(leaves[0].grad, before)


def test_bitwise_the_same_again_and_close_with_other_threads(isa: str) -> None:
    scene = Scene(Case(frames=3, two=True, size=(9, 11), planes=20, colours=32))
    threads = torch.get_num_threads()
    runs = {}
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            runs[count] = [scene.run("cpu", torch.float32) for _ in range(2)]
    finally:
        torch.set_num_threads(threads)
    for first, second in runs.values():
        assert all(torch.equal(first[0][name], second[0][name]) for name in first[0])
        assert all(torch.equal(first[1][name], second[1][name]) for name in first[1])
    for count in (2, 3):
        # Outputs of a ray do not depend on who computes it; gradients are added up in another order.
        one, other = runs[1][0], runs[count][0]
        assert all(torch.equal(one[0][k], other[0][k]) for k in one[0])
        assert max(distance(other[1][k], one[1][k]) for k in one[1]) < 1e-5


def test_threads_of_its_own_do_the_same_as_those_of_openmp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(Case(frames=2, two=True, size=(9, 11)))
    shared = scene.run("cpu", torch.float32)
    copy = tmp_path / BUILT.name
    shutil.copy(BUILT, copy)
    monkeypatch.setattr(backends, "_openmp", lambda: None)
    alone = Library(copy)
    monkeypatch.setattr(backends, "library", lambda device: alone)
    own = scene.run("cpu", torch.float32)
    assert all(torch.equal(own[0][name], shared[0][name]) for name in shared[0])
    assert all(torch.equal(own[1][name], shared[1][name]) for name in own[1])


def test_a_thousand_calls_leave_nothing_behind() -> None:
    scene = Scene(Case(two=True, size=(2, 2), planes=16, ood_planes=16))

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    if not Path("/proc/self/statm").exists():
        pytest.skip("no /proc here")
    for _ in range(100):
        scene.run("cpu", torch.float32)
    before = resident()
    for _ in range(1000):
        scene.run("cpu", torch.float32)
    # One call's gradients alone are 200 kB.
    assert resident() - before < 8 << 20


def test_memory_does_not_grow_with_samples() -> None:
    """What backward takes beside the gradients is for one ray a thread, however many samples there are."""
    script = """
import resource, sys, torch
from tests.inverters.rendering.cases import Case, Scene
torch.set_num_threads(2)
count = int(sys.argv[1])
scene = Scene(Case(size=(64, 64), coarse=count, fine=count, two=True, colours=32, planes=16))
leaves = [t.float().requires_grad_() for t in scene.leaves]
def run():
    from inverters.rendering.fields import Decoder, Field
    from inverters.rendering.fused import render_rays
    field, ood = Field(leaves[0], Decoder(*leaves[1:5])), Field(leaves[5], Decoder(*leaves[6:10]))
    render_rays(field, *leaves[-2:], scene.sampling, ood, backend="cpu").features.sum().backward()
run()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    few, many = (
        int(
            subprocess.run(
                [sys.executable, "-c", script, n], capture_output=True, text=True, check=True
            ).stdout
        )
        for n in ("12", "96")
    )
    # 4,096 rays x 168 more samples x 32 channels of one field alone would be 88 MB.
    assert many - few < 20_000
