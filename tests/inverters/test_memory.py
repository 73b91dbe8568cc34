"""Smaller batches give the same gradients; out-of-memory errors; freed memory that the process keeps."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inverters import memory
from inverters.fitting.loop import backward
from inverters.fitting.superresolution import finetune
from tests.inverters.tiny import invert, own_clip, tiny, tiny_generator

CUDA = (
    "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 7.79 GiB of which "
    "1.20 GiB is free."
)
CPU = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
    "allocate 4294967296 bytes. Error code 12 (Cannot allocate memory)"
)

FAULTS = """
import resource, sys, torch
from inverters.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def step():
    torch.ones(10, 1 << 20)  # 40 MB
step()
before = faults()
for _ in range(20):
    step()
print(faults() - before)
"""


@given(st.integers(1, 40), st.integers(0, memory.LEVELS - 1))
def test_parts_cover_every_frame_once(count: int, level: int) -> None:
    with memory.reduced_memory(level):
        found = memory.parts(count)
        assert len(found) == 1 or level > 0
        assert all(part.stop - part.start <= memory.batch(count) for part in found)
    assert [k for part in found for k in range(part.start, part.stop)] == list(range(count))
    assert memory.batch(count) == count


@settings(max_examples=30)
@given(st.integers(1, 11), st.integers(1, memory.LEVELS - 1), st.integers(0, 99))
def test_gradients_of_parts_are_those_of_the_whole(count: int, level: int, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    data = torch.randn(count, 3, generator=rng, dtype=torch.float64)
    frame = torch.randn(count, 3, generator=rng, dtype=torch.float64).requires_grad_()
    shared = torch.randn(3, generator=rng, dtype=torch.float64).requires_grad_()

    def losses_of(part: slice) -> dict[str, torch.Tensor]:
        fit = (shared * frame[part] - data[part]).square().sum(1).mean()
        return {"fit": fit, "prior": shared.square().sum()}

    def run() -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:
        shared.grad = frame.grad = None
        losses = backward(count, torch.device("cpu"), losses_of)
        assert shared.grad is not None and frame.grad is not None
        return losses, [shared.grad, frame.grad]

    losses, gradients = run()
    with memory.reduced_memory(level):
        fewer, others = run()
    for name, value in losses.items():
        torch.testing.assert_close(fewer[name], value)
        assert not fewer[name].requires_grad
    for one, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(one, other)


def test_every_stage_does_the_same_with_a_frame_at_a_time() -> None:
    generator = tiny_generator()
    problem = own_clip(generator, 3, occluder=True)

    def run() -> tuple[dict[str, list[float]], torch.Tensor]:
        found = invert("in-n-out", generator, problem, steps=6, seed=1)
        tuned = finetune(generator, problem, found, settings=tiny("in-n-out").tune, steps=3, seed=1)
        return tuned.history, tuned.ws

    history, ws = run()
    with memory.reduced_memory(2):
        reduced, codes = run()
    assert reduced.keys() == history.keys()
    torch.testing.assert_close(codes, ws, atol=2e-3, rtol=0)
    for name, values in history.items():
        assert reduced[name] == pytest.approx(values, rel=0.02, abs=1e-4), name


def test_shortage_of_memory_is_told_from_other_errors() -> None:
    for error in (torch.OutOfMemoryError(CUDA), RuntimeError(CPU), MemoryError()):
        assert memory.is_out_of_memory(error)
    for other in (RuntimeError("shape mismatch"), ValueError("memory"), KeyboardInterrupt()):
        assert not memory.is_out_of_memory(other)
    assert memory.needed(MemoryError(), "cpu") is None
    bytes_needed = memory.needed(RuntimeError(CPU), "cpu")
    assert bytes_needed is not None and 2**32 < bytes_needed < 2**32 + 2**36


@pytest.mark.gpu
def test_activations_in_the_hosts_memory_change_no_bit() -> None:
    def run() -> tuple[torch.Tensor, int]:
        torch.manual_seed(0)
        net = torch.nn.Sequential(*[torch.nn.Conv2d(16, 16, 3, padding=1) for _ in range(8)]).cuda()
        image = torch.randn(1, 16, 512, 512, device="cuda")
        torch.cuda.reset_peak_memory_stats()
        backward(1, image.device, lambda part: {"loss": net(image[part]).square().mean()})
        first = next(net.parameters()).grad
        assert first is not None
        return first, torch.cuda.max_memory_allocated()

    gradient, most = run()
    with memory.reduced_memory(memory.LEVELS - 1):
        same, least = run()
    assert torch.equal(gradient, same) and least < most


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc")
def test_a_step_does_not_fetch_its_memory_anew() -> None:
    def faults(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert faults("keep") < faults("give back") / 2
