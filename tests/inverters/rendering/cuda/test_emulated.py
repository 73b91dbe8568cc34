"""The CUDA renderer's sources against the reference, without a GPU."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from inverters.errors import RendererError
from inverters.rendering import backends
from tests.inverters.rendering.cuda.cases import (
    CASES,
    Case,
    Results,
    differences,
    failures,
    make_inputs,
    render,
)
from tests.inverters.rendering.cuda.emulated import SOURCES, EmulatedLibrary, build

_compiler = shutil.which("g++")


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


def _expected(case: Case) -> Results:
    return render(case, make_inputs(case), "reference", "cpu", torch.float64)


def _found(case: Case) -> Results:
    return render(case, make_inputs(case), "cpu", "cpu", torch.float32)


def test_the_emulator_fails_threads_that_part_company(emulated: EmulatedLibrary) -> None:
    assert emulated.raw.invid_emulator_self_test() == 0


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_equals_the_reference(case: Case, as_cpu: EmulatedLibrary) -> None:
    assert not failures(differences(_found(case), _expected(case)))


@pytest.mark.parametrize("case", CASES[2:5], ids=lambda case: case.name)
def test_does_not_depend_on_which_thread_comes_first(case: Case, as_cpu: EmulatedLibrary) -> None:
    first = _found(case)
    as_cpu.raw.invid_emulator_reverse(1)
    second = _found(case)
    for name, tensor in first[0].items():
        assert tensor.equal(second[0][name]), name
    assert not failures(differences(second, _expected(case)))


@pytest.mark.parametrize("case", [CASES[2], CASES[4], CASES[11]], ids=lambda case: case.name)
def test_deterministic_gradients_are_the_same_in_every_run(case: Case, as_cpu: EmulatedLibrary) -> None:
    torch.use_deterministic_algorithms(True)
    first = _found(case)
    as_cpu.raw.invid_emulator_reverse(1)
    second = _found(case)
    for place in (0, 1):
        for name, tensor in first[place].items():
            assert tensor.equal(second[place][name]), name
    assert not failures(differences(first, _expected(case)))


@pytest.mark.parametrize("case", CASES[1:3], ids=lambda case: case.name)
def test_tensor_cores_are_near_the_reference(
    case: Case, as_cpu: EmulatedLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "_precision", "tf32")
    distances = differences(_found(case), _expected(case))
    assert not failures(distances, "tf32")
    assert failures(distances), "as near as single precision: tensor cores were not asked"


def test_refuses_what_does_not_fit(as_cpu: EmulatedLibrary) -> None:
    with pytest.raises(RendererError, match="does not know this call"):
        _found(replace(CASES[0], coarse=20000, rays=(1, 1)))


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc")
def test_compiles_for_a_gpu(tmp_path: Path) -> None:
    command = ["nvcc", "-std=c++17", "-O1", "-arch=sm_90", "-c", str(SOURCES / "colours_3.cu")]
    done = subprocess.run(
        [*command, "-o", str(tmp_path / "colours_3.o")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
