"""The CUDA renderer's sources against the reference, without a GPU."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from inverters.errors import RendererError
from inverters.rendering import backends
from tests.inverters.rendering import drawing_cases
from tests.inverters.rendering.cases import CASES, Case, Scene, compared, differences, failures
from tests.inverters.rendering.cuda.emulated import SOURCES, EmulatedLibrary, build

_compiler = shutil.which("g++")
NAMED = {case.name: case for case in CASES}


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> EmulatedLibrary:
    if _compiler is None:
        pytest.skip("no g++ to build the emulator with")
    return EmulatedLibrary(build(_compiler, tmp_path_factory.mktemp("emulated")))


@pytest.fixture
def as_cpu(emulated: EmulatedLibrary, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmulatedLibrary]:
    """The emulated library in the place of the CPU's."""
    monkeypatch.setattr(backends, "library", lambda device: emulated)
    yield emulated
    emulated.raw.invid_emulator_reverse(0)
    torch.use_deterministic_algorithms(False)


def test_the_emulator_fails_threads_that_part_company(emulated: EmulatedLibrary) -> None:
    assert emulated.raw.invid_emulator_self_test() == 0


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_equals_the_reference(case: Case, as_cpu: EmulatedLibrary) -> None:
    assert not failures(compared(case, "cpu"), "fp32")


@pytest.mark.parametrize("name", ["two fields", "sum", "white"])
def test_does_not_depend_on_which_thread_comes_first(name: str, as_cpu: EmulatedLibrary) -> None:
    scene = Scene(NAMED[name])
    first = scene.run("cpu", torch.float32)
    as_cpu.raw.invid_emulator_reverse(1)
    second = scene.run("cpu", torch.float32)
    assert all(tensor.equal(second[0][key]) for key, tensor in first[0].items())
    assert not failures(differences(second, scene.run("reference")), "fp32")


@pytest.mark.parametrize("name", ["two fields", "white", "only rays"])
def test_deterministic_gradients_are_the_same_in_every_run(name: str, as_cpu: EmulatedLibrary) -> None:
    scene = Scene(NAMED[name])
    torch.use_deterministic_algorithms(True)
    first = scene.run("cpu", torch.float32)
    as_cpu.raw.invid_emulator_reverse(1)
    second = scene.run("cpu", torch.float32)
    for one, other in zip(first, second, strict=True):
        assert all(tensor.equal(other[key]) for key, tensor in one.items())
    assert not failures(differences(first, scene.run("reference")), "fp32")


@pytest.mark.parametrize("name", ["one field, frames", "two fields"])
def test_tensor_cores_are_near_the_reference(
    name: str, as_cpu: EmulatedLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "_precision", "tf32")
    distances = compared(NAMED[name], "cpu")
    assert not failures(distances, "tf32")
    assert failures(distances, "fp32"), "as near as single precision: tensor cores were not asked"


def test_refuses_what_does_not_fit(as_cpu: EmulatedLibrary) -> None:
    with pytest.raises(RendererError, match="does not know this call"):
        Scene(Case(coarse=20000, size=(1, 1))).run("cpu", torch.float32)


@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("seed", range(4))
def test_draws_as_the_reference(seed: int, reverse: int, as_cpu: EmulatedLibrary) -> None:
    as_cpu.raw.invid_emulator_reverse(reverse)
    scene = drawing_cases.Scene(seed, count=60)
    drawing_cases.check_equal(scene.draw(), drawing_cases.reference(scene.draw))


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc")
@pytest.mark.parametrize("source", ["colours_3", "drawing"])
def test_compiles_for_a_gpu(source: str, tmp_path: Path) -> None:
    command = ["nvcc", "-std=c++17", "-O1", "-arch=sm_90", "-c", str(SOURCES / f"{source}.cu")]
    done = subprocess.run(
        [*command, "-o", str(tmp_path / f"{source}.o")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
