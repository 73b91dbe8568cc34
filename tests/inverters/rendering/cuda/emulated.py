"""The CUDA renderer compiled for this processor, on the emulated GPU of `cuda_shim.h`."""

from __future__ import annotations

import ctypes
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from inverters.rendering import backends

_HERE = Path(__file__).parent
SOURCES = Path(backends.__file__).parent / "csrc" / "cuda"
_FLAGS = (
    *("-std=c++17", "-O2", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wno-unknown-pragmas"),
    # Threads leave by longjmp to other stacks, which a fortified one takes for an error.
    *("-U_FORTIFY_SOURCE", "-DINVID_EMULATED"),
    # Few, so that a small call has several pieces.
    *("-DINVID_RECORDED=600", f"-I{_HERE}"),
)


def build(compiler: str, folder: Path) -> Path:
    """Compiles the library into `folder`."""
    sources = [*(p for p in sorted(SOURCES.glob("*.cu")) if p.name != "sort.cu"), _HERE / "emulator.cpp"]

    def compile_one(source: Path) -> Path:
        target = folder / f"{source.stem}.o"
        command = [compiler, *_FLAGS, "-x", "c++", "-c", str(source), "-o", str(target)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return target

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compile_one, sources))
    library = folder / "libinvid_emulated.so"
    subprocess.run([compiler, "-shared", *map(str, objects), "-o", str(library)], check=True)
    return library


class EmulatedLibrary(backends.Library):
    """As a library for the CPU, which gives calls their scratch as `compiled._run` does on a GPU."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.raw = ctypes.CDLL(str(path))
        forward, backward = self.forward, self.backward
        self.forward = lambda call: self._with_scratch(forward, call, False)  # type: ignore[assignment]
        self.backward = lambda call: self._with_scratch(backward, call, True)  # type: ignore[assignment]

    def _with_scratch(self, function: Any, call: Any, backward: bool) -> int:
        size = self.scratch_bytes(call, int(backward))
        # Not zeroed, as on a GPU; what would show that it is read is not a number.
        scratch = torch.full((size + 512,), 255, dtype=torch.uint8)
        start = -scratch.data_ptr() % 256
        call._obj.scratch = scratch.data_ptr() + start
        failure: int = function(call)
        if not bool((scratch[start + size :] == 255).all()):
            raise AssertionError("wrote past its scratch")
        return failure
