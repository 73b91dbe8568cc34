"""Compile the renderer, at installation or by `python -m inverters.rendering.build [cpu|cuda]`.

Needs a compiler and the standard library. The result is a C library that works with every version of Python
and torch.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "csrc"

_CXX = ["-std=c++20", "-O3", "-fPIC", "-fvisibility=hidden", "-fno-math-errno", "-fno-trapping-math"]
_CXX += ["-Wno-psabi", "-pthread"]
_AVX512 = ["-mavx512f", "-mavx512vl", "-mavx512dq", "-mavx512bw", "-mavx2", "-mfma"]
_PLAIN = ["-DINVID_ISA=plain", "-DINVID_WIDTH=4", "-DINVID_DOUBLE"]
_SEPARATE = ["-ffp-contract=off"]
"""No fused multiply-add, so that what is drawn is the same on every processor and in the reference."""
ARCHITECTURES = os.environ.get("INVID_CUDA_ARCHITECTURES", "80,86,89,90").split(",")
"""CUDA compute capabilities with machine code; later ones compile the last one's PTX at load. Compile time is
proportional to their number.
"""


class BuildError(Exception):
    """There is no compiler, or it failed; the message has its output."""


def library_path(device: str, folder: Path = HERE) -> Path:
    """Path of the compiled renderer for "cpu" or "cuda"."""
    return folder / f"libinvid_{device}.so"


def compiler(device: str) -> str | None:
    """The compiler, or None: $CXX, g++ or clang++; for CUDA $NVCC, nvcc, or that of $CUDA_HOME."""
    names = [os.environ.get("CXX"), "g++", "clang++"]
    if device == "cuda":
        home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
        names = [os.environ.get("NVCC"), "nvcc", f"{home}/bin/nvcc"]
    return next((found for name in names if name and (found := shutil.which(name))), None)


def build(device: str, target: Path | None = None) -> Path:
    """Compile for "cpu" or "cuda" and rename the library to `target`. Returns the path. Raises BuildError."""
    program = compiler(device)
    if program is None:
        raise BuildError(f"no {'C++ compiler' if device == 'cpu' else 'nvcc'} was found")
    target = library_path(device) if target is None else target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".build-") as folder:
        made = Path(folder) / target.name
        compile_ = _compile if device == "cpu" else _compile_cuda
        compile_(program, Path(folder), made)
        made.replace(target)
    return target


def _compile(program: str, folder: Path, made: Path) -> None:
    """Compile one object per instruction set, and link them into one library."""
    x86 = platform.machine() in ("x86_64", "AMD64")
    units: list[tuple[str, list[str]]] = [
        ("isa.cpp", _PLAIN),
        ("team.cpp", []),
        ("triangles.cpp", _SEPARATE),
        ("strands.cpp", _SEPARATE),
        ("visibility.cpp", _SEPARATE),
        ("library.cpp", ["-DINVID_X86"] if x86 else []),
    ]
    if x86:
        units.append(("isa.cpp", ["-DINVID_ISA=avx2", "-DINVID_WIDTH=8", "-mavx2", "-mfma"]))
        units.append(("isa.cpp", ["-DINVID_ISA=avx512", "-DINVID_WIDTH=16", *_AVX512]))
    _make([program, *_CXX], [program, "-shared", "-pthread"], units, SOURCES / "cpu", folder, made)


def _compile_cuda(program: str, folder: Path, made: Path) -> None:
    """Compile one object per source, each with code for all architectures."""
    codes = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in ARCHITECTURES]
    last = ARCHITECTURES[-1]
    codes.append(f"-gencode=arch=compute_{last},code=compute_{last}")
    named = ",".join(f"sm_{a}" for a in ARCHITECTURES)
    flags = ["-std=c++17", "-O3", "-Xcompiler=-fPIC,-fvisibility=hidden", f'-DINVID_SM="{named},ptx"', *codes]
    files = sorted(p.name for p in (SOURCES / "cuda").glob("*.cu"))
    units = [(name, ["-fmad=false"] if name == "drawing.cu" else []) for name in files]
    _make([program, *flags], [program, "-shared", "-cudart=static"], units, SOURCES / "cuda", folder, made)


def _make(
    compile_: list[str],
    link: list[str],
    units: list[tuple[str, list[str]]],
    sources: Path,
    folder: Path,
    made: Path,
) -> None:
    """Compile units (a file and its flags) in parallel, and link them."""
    objects = [str(folder / f"{place}.o") for place in range(len(units))]
    commands = [
        [*compile_, *flags, "-c", str(sources / name), "-o", target]
        for (name, flags), target in zip(units, objects, strict=True)
    ]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        list(pool.map(_run, commands))
    _run([*link, *objects, "-o", str(made)])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{Path(command[0]).name} failed:\n{done.stderr[-4000:]}")


def main(devices: list[str]) -> int:
    """Build the named renderers, or all that have a compiler. Returns 1 if one failed."""
    status = 0
    for device in devices or [d for d in ("cpu", "cuda") if compiler(d)]:
        try:
            print(f"invid: built {build(device)}")
        except BuildError as error:
            print(f"invid: the {device} renderer was not built: {error}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
