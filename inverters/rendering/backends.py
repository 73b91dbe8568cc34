"""Choice of the renderer: compiled for the CPU, compiled for CUDA, or the reference in torch."""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import torch

from inverters import threads
from inverters.errors import RendererError

Backend = Literal["auto", "cuda", "cpu", "reference"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)
Precision = Literal["fp32", "tf32"]

ABI = 1
"""INVID_RENDER_ABI of csrc/include/invid_render.h, which `compiled._Call` mirrors."""
DRAW_ABI = 2
"""INVID_DRAW_ABI of csrc/include/invid_draw.h, which `drawing_compiled` mirrors."""

_log = logging.getLogger(__name__)
_here = Path(__file__).parent
_requested: Backend = "auto"
_precision: Precision = "fp32"


class Library:
    """A compiled renderer: forward and backward, the widths and the instruction set it was built for."""

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path))
        if library.invid_abi() != ABI:
            raise OSError("it was built from other sources")
        for name in ("invid_isa", "invid_widths"):
            getattr(library, name).restype = ctypes.c_char_p
        self.isa: str = library.invid_isa().decode()
        self.widths = {tuple(map(int, w.split("-"))) for w in library.invid_widths().decode().split()}
        self.forward, self.backward = library.invid_render_forward, library.invid_render_backward
        for function in (self.forward, self.backward):
            function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_int
        # A library built from older sources has none.
        kinds = ("triangles", "strands", "visible")
        self.drawing = {n: library[f"invid_draw_{n}"] for n in kinds if hasattr(library, f"invid_draw_{n}")}
        for function in self.drawing.values():
            function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_int
        if hasattr(library, "invid_scratch_bytes"):  # CUDA
            self.scratch_bytes = library.invid_scratch_bytes
            self.scratch_bytes.argtypes, self.scratch_bytes.restype = (
                [ctypes.c_void_p, ctypes.c_int],
                ctypes.c_int64,
            )
        if hasattr(library, "invid_use_openmp"):
            library.invid_use_openmp.argtypes, library.invid_use_openmp.restype = [ctypes.c_void_p] * 3, None
            if (functions := _openmp()) is not None:
                library.invid_use_openmp(*functions)
            threads.adapt()


def _openmp() -> list[int | None] | None:
    """Addresses of GOMP_parallel, omp_get_thread_num and omp_get_num_threads in torch's OpenMP runtime.

    None where that is not found; the renderer then starts threads of its own.
    """
    runtime = threads.openmp_runtime()
    if runtime is None:
        return None
    names = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")
    return [ctypes.cast(getattr(runtime, name), ctypes.c_void_p).value for name in names]


@cache
def library(device: str) -> Library | str:
    """The compiled renderer for "cpu" or "cuda", or the reason why there is none."""
    path = _here / f"libinvid_{device}.so"
    if not path.exists():
        missing = "C++ compiler" if device == "cpu" else "nvcc"
        return f"not built: there was no {missing} when Invid was installed, or it failed"
    try:
        return Library(path)
    except (OSError, AttributeError) as error:
        return f"not usable: {error}; install Invid again"


def request(backend: str) -> None:
    """Set the renderer of this process. Raises RendererError for an unknown name."""
    global _requested
    if backend not in BACKENDS:
        raise RendererError(f"unknown renderer '{backend}'; known: {', '.join(BACKENDS)}")
    _requested = backend


def requested() -> Backend:
    """The renderer set by `request`, else by INVID_RENDERER in the environment."""
    if _requested != "auto":
        return _requested
    named = os.environ.get("INVID_RENDERER", "auto")
    if named not in BACKENDS:
        raise RendererError(f"INVID_RENDERER is '{named}'; known: {', '.join(BACKENDS)}")
    return named


def set_precision(precision: Precision) -> None:
    """Set the precision of matrix products in the CUDA renderer, from now on.

    "fp32", or "tf32" on tensor cores (10 bits of mantissa).

    Raises:
        RendererError: another word.
    """
    global _precision
    if precision not in get_args(Precision):
        raise RendererError(f"unknown precision '{precision}'; known: {', '.join(get_args(Precision))}")
    _precision = precision


def precision() -> Precision:
    """The precision set by `set_precision`."""
    return _precision


@contextmanager
def using(backend: str) -> Iterator[None]:
    """`request` for the duration of a `with` block."""
    global _requested
    before = _requested
    request(backend)
    try:
        yield
    finally:
        _requested = before


Widths = tuple[int, int, int]
"""Channels of the planes, hidden units and colours of a field."""


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def choose(backend: str, device: str, *widths: Widths) -> bool:
    """Whether the compiled renderer is used for fields of these widths on `device`; else the reference is.

    Raises:
        RendererError where the renderer was named and cannot do it; "auto" falls back to the reference.
    """
    if backend == "reference":
        return False
    if backend not in ("auto", device):
        raise RendererError(f"the {backend} renderer cannot render tensors that are on {device}")
    problem = _problem(device, set(widths))
    if problem and backend != "auto":
        raise RendererError(problem)
    if problem:
        _say_once(problem)
    return not problem


def _problem(device: str, widths: set[Widths]) -> str:
    """Why the compiled renderer cannot render these widths; empty where it can."""
    found = library(device) if device in ("cpu", "cuda") else "not made for it"
    if isinstance(found, str):
        return f"the compiled {device} renderer is {found}"
    if len(widths) == 1 and widths <= found.widths:
        return ""
    seen, known = (", ".join("-".join(map(str, w)) for w in sorted(s)) for s in (widths, found.widths))
    return (
        f"the compiled {device} renderer is not built for channels-hidden-colours {seen}, "
        f"only for {known}, the same in both fields"
    )


def draws(device: str) -> bool:
    """Whether compiled code draws meshes and strands on `device` (`drawing.py`); else the reference does.

    A renderer named for another device does not matter here: people are drawn where their tensors are.

    Raises:
        RendererError where the compiled renderer of this device was named and cannot draw.
    """
    if (asked := requested()) == "reference":
        return False
    found = library(device) if device in ("cpu", "cuda") else "not made for it"
    if not isinstance(found, str) and found.drawing:
        return True
    reason = found if isinstance(found, str) else "built from older sources; install Invid again"
    if asked == device:
        raise RendererError(f"the compiled {device} renderer is {reason}")
    _say_once(f"the compiled {device} renderer is {reason}")
    return False


@cache
def _say_once(problem: str) -> None:
    _log.warning("rendering in plain torch, many times slower: %s", problem)


def picked(device: str, widths: Widths | None = None) -> str:
    """Name of the renderer for a generator of these widths on `device`, and the reason for a fallback."""
    asked = requested()
    if asked == "reference":
        return "reference (asked for)"
    if widths is not None and (problem := _problem(device, {widths})):
        return f"reference ({problem})"
    found = library(device)
    return f"reference ({found})" if isinstance(found, str) else f"{device} ({found.isa})"


def describe() -> dict[str, str]:
    """For `invid doctor`: the renderer that jobs use here, and the state of the compiled ones."""
    states = {}
    for device in ("cpu", "cuda"):
        found = library(device)
        states[device] = found if isinstance(found, str) else f"compiled for {found.isa}"
    if not torch.cuda.is_available() and not isinstance(library("cuda"), str):
        states["cuda"] += "; no CUDA device here"
    return {"picked": picked("cuda" if torch.cuda.is_available() else "cpu")} | states
