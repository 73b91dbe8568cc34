"""The CUDA renderer on a GPU: `pytest -m gpu tests/inverters/rendering/cuda`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from inverters.rendering import backends
from tests.inverters.rendering import drawing_cases
from tests.inverters.rendering.cases import CASES, Case, Scene, compared, differences, failures

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

LARGE = [
    replace(case, name=f"{case.name}, many rays", size=(64, 64), planes=64, ood_planes=48)
    for case in CASES
    if case.name in ("two fields", "sum", "drawn")
]


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    yield
    backends.set_precision("fp32")
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("case", [*CASES, *LARGE], ids=lambda case: case.name)
def test_equals_the_reference(case: Case) -> None:
    assert not failures(compared(case, "cuda", device="cuda"), "fp32")


@pytest.mark.parametrize("case", LARGE, ids=lambda case: case.name)
def test_tensor_cores_are_near_the_reference(case: Case) -> None:
    backends.set_precision("tf32")
    assert not failures(compared(case, "cuda", device="cuda"), "tf32")


@pytest.mark.parametrize("case", LARGE, ids=lambda case: case.name)
def test_deterministic_gradients_are_the_same_in_every_run(case: Case) -> None:
    scene = Scene(case)
    torch.use_deterministic_algorithms(True)
    first, second = (scene.run("cuda", torch.float32, "cuda") for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert all(tensor.equal(other[key]) for key, tensor in one.items())
    assert not failures(differences(first, scene.run("reference")), "fp32")


@pytest.mark.parametrize("seed", range(20))
def test_draws_as_the_reference(seed: int) -> None:
    scene, on_cpu = drawing_cases.Scene(seed, "cuda"), drawing_cases.Scene(seed)
    found = {name: value.cpu() for name, value in scene.draw().items()}
    # On the same points on the canvas; the CPU's differ in the last bit.
    expected = drawing_cases.reference(scene.draw)
    drawing_cases.check_equal(found, {name: value.cpu() for name, value in expected.items()})
    assert (found["triangle"] != on_cpu.draw()["triangle"]).float().mean() < 0.02


def test_drawn_meshes_are_the_same_in_every_run() -> None:
    scene = drawing_cases.Scene(3, "cuda", count=5000)
    first, second = scene.draw(), scene.draw()
    for name, value in first.items():
        if name.startswith("strands colour"):
            torch.testing.assert_close(value, second[name], rtol=1e-5, atol=1e-5)
        elif not name.startswith("strands"):
            assert torch.equal(value, second[name]), name


def test_a_thousand_calls_leave_nothing_behind() -> None:
    scene = Scene(Case(two=True, size=(16, 16)))
    for _ in range(20):
        scene.run("cuda", torch.float32, "cuda")
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for _ in range(1000):
        scene.run("cuda", torch.float32, "cuda")
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() <= before
