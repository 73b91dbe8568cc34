"""The compiled renderer as a torch operator: ctypes call, gradient, and shapes for tracing.

The library does not depend on torch, so one build works with every version. `_Call` mirrors
`csrc/include/invid_render.h`.
"""

from __future__ import annotations

import ctypes
from ctypes import c_double, c_int32, c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor

from inverters.errors import RendererError
from inverters.rendering import backends

FIXED_AXES, SUM, WHITE, DETERMINISTIC, TF32 = 1, 2, 4, 8, 16
SAMPLES, OOD_FEATURES = 1, 2
"""Optional outputs: arrays by sample, and the second field alone."""

_FAILURES = {
    1: "the compiled renderer does not know this call",
    2: "not enough memory for the compiled renderer",
    3: "the compiled renderer failed on the GPU",
}


class _Field(ctypes.Structure):
    _fields_ = (
        ("planes", c_void_p),
        *((name, c_int64) for name in ("frame", "plane", "row", "column")),
        ("resolution", c_int32),
        ("outputs", c_int32),
        *((name, c_void_p) for name in ("w1", "b1", "w2", "b2")),
        ("b1_frame", c_int64),
        *((name, c_void_p) for name in ("v_planes", "v_w1", "v_b1", "v_w2", "v_b2")),
        *((name, c_int64) for name in ("v_frame", "v_plane", "v_row", "v_column")),
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


class _Outputs(ctypes.Structure):
    _fields_ = tuple((name, c_void_p) for name in OUTPUTS)


class _Call(ctypes.Structure):
    _fields_ = (
        *((name, c_int32) for name in ("abi", "scalar_bytes", "flags", "threads")),
        *((name, c_int32) for name in ("frames", "rays", "coarse", "fine")),
        *((name, c_int32) for name in ("channels", "hidden", "colours", "fields")),
        ("box_warp", c_double),
        ("origins", c_void_p),
        ("directions", c_void_p),
        ("coarse_depths", c_void_p),
        ("coarse_frame", c_int64),
        ("coarse_ray", c_int64),
        ("fine_positions", c_void_p),
        ("fine_frame", c_int64),
        ("fine_ray", c_int64),
        ("limits", c_void_p),
        ("field", _Field * 2),
        ("out", _Outputs),
        ("v", _Outputs),
        ("v_origins", c_void_p),
        ("v_directions", c_void_p),
        ("stream", c_void_p),
        ("scratch", c_void_p),
    )


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None or tensor.numel() == 0 else tensor.data_ptr()


def _strides(planes: Tensor) -> tuple[int, ...]:
    """Strides of frames, planes, rows and columns of [.,3,R,R,C]; torch's are arbitrary for a single row."""
    frame, plane, row, column, _ = planes.stride()
    return (frame, plane, row, column) if planes.shape[3] > 1 else (frame, plane, *[planes.shape[4]] * 2)


def _call(fields: list[list[Tensor]], rays: list[Tensor], box_warp: float, flags: int) -> _Call:
    """The C struct of a call. `fields`: of each, planes [1 or N,3,R,R,C], w1, b1 [1 or N,H], w2, b2."""
    origins, directions, coarse, positions, limits = rays
    n, count, _ = origins.shape
    call = _Call(
        abi=backends.ABI,
        scalar_bytes=origins.element_size(),
        flags=flags,
        threads=torch.get_num_threads(),
        frames=n,
        rays=count,
        coarse=coarse.shape[2],
        fine=positions.shape[2],
        channels=fields[0][1].shape[1],
        hidden=fields[0][1].shape[0],
        colours=len(fields[0][3]) - 1,
        fields=len(fields),
        box_warp=box_warp,
        origins=origins.data_ptr(),
        directions=directions.data_ptr(),
        coarse_depths=coarse.data_ptr(),
        coarse_frame=coarse.stride(0),
        coarse_ray=coarse.stride(1),
        fine_positions=positions.data_ptr(),
        fine_frame=positions.stride(0),
        fine_ray=positions.stride(1),
        limits=limits.data_ptr(),
    )
    for place, (planes, w1, b1, w2, b2) in enumerate(fields):
        frame, plane, row, column = _strides(planes)
        call.field[place] = _Field(
            planes=planes.data_ptr(),
            frame=frame if len(planes) > 1 else 0,
            plane=plane,
            row=row,
            column=column,
            resolution=planes.shape[2],
            outputs=len(w2),
            w1=w1.data_ptr(),
            b1=b1.data_ptr(),
            w2=w2.data_ptr(),
            b2=b2.data_ptr(),
            b1_frame=b1.shape[1] if len(b1) > 1 else 0,
        )
    return call


def _run(call: _Call, backward: bool, like: Tensor) -> None:
    if like.numel() == 0:
        return
    library = backends.library(like.device.type)
    if isinstance(library, str):
        raise RendererError(f"the compiled {like.device.type} renderer is {library}")
    scratch = None
    if like.is_cuda:
        call.stream = torch.cuda.current_stream(like.device).cuda_stream
        size = library.scratch_bytes(ctypes.byref(call), int(backward))
        scratch = torch.empty(size, dtype=torch.uint8, device=like.device)
        call.scratch = scratch.data_ptr()
    failure = (library.backward if backward else library.forward)(ctypes.byref(call))
    if failure:
        raise RendererError(_FAILURES.get(failure, f"the compiled renderer failed ({failure})"))


def _empty_outputs(
    origins: Tensor, coarse: Tensor, positions: Tensor, colours: int, two: bool, wanted: int
) -> tuple[Tensor, ...]:
    """Outputs in the order of OUTPUTS, empty [0] where not wanted."""
    n, rays, _ = origins.shape
    samples = coarse.shape[2] + positions.shape[2]
    want_samples, alone = bool(wanted & SAMPLES), bool(wanted & OOD_FEATURES)
    shapes: tuple[tuple[int, ...] | None, ...] = (
        (n, rays, colours),
        (n, rays),
        (n, rays),
        (n, rays) if two else None,
        (n, rays) if two else None,
        (n, rays, samples - 1) if want_samples else None,
        (n, rays, samples) if want_samples else None,
        (n, rays, samples) if want_samples and two else None,
        (n, rays, colours) if alone and two else None,
    )
    return tuple(origins.new_empty((0,) if shape is None else shape) for shape in shapes)


@torch.library.custom_op("invid::render_rays", mutates_args=())
def render(
    field: list[Tensor],
    ood: list[Tensor],
    rays: list[Tensor],
    box_warp: float,
    flags: int,
    wanted: int,
) -> list[Tensor]:
    """Render rays; returns OUTPUTS, empty [0] where not wanted.

    `field` and `ood` (empty for one field) are planes, w1, b1, w2, b2; `rays` are origins, directions, coarse
    depths, fine positions, limits.
    """
    outputs = _empty_outputs(rays[0], rays[2], rays[3], len(field[3]) - 1, bool(ood), wanted)
    call = _call([field, ood] if ood else [field], rays, box_warp, flags)
    call.out = _Outputs(*map(_pointer, outputs))
    _run(call, False, rays[0])
    return list(outputs)


@render.register_fake
def _(
    field: list[Tensor], ood: list[Tensor], rays: list[Tensor], box_warp: float, flags: int, wanted: int
) -> list[Tensor]:
    return list(_empty_outputs(rays[0], rays[2], rays[3], len(field[3]) - 1, bool(ood), wanted))


def _empty_gradients(fields: list[list[Tensor]], origins: Tensor, needs: list[int]) -> list[list[Tensor]]:
    """Zeros in the shapes of each field and of the rays; [0] where no gradient is needed.

    `needs`: for each field 1 (planes) + 2 (decoder), then 1 for the rays.
    """
    nothing = origins.new_empty(0)
    found = []
    for need, (planes, *weights) in zip(needs[:-1], fields, strict=True):
        decoder = [_zeros(w.shape, w) if need & 2 else nothing.clone() for w in weights]
        found.append([_zero_planes(planes) if need & 1 else nothing.clone(), *decoder])
    rays = [_zeros(origins.shape, origins) if needs[-1] else nothing.clone() for _ in range(2)]
    return [*found, rays]


def _zero_planes(planes: Tensor) -> Tensor:
    """Zeros in the memory layout of planes [.,3,R,R,C], so that autograd takes the gradient without a copy.

    Dense where the planes are part of something larger.
    """
    # The two layouts of planes: contiguous, or as the 3 C channels of one channels-last image.
    dense = planes.is_contiguous()
    stacked = planes.transpose(1, 2).transpose(2, 3).is_contiguous()
    if dense or stacked:
        return planes.new_empty_strided(planes.shape, planes.stride()).zero_()
    return _zeros(planes.shape, planes)


def _zeros(shape: torch.Size, like: Tensor) -> Tensor:
    return torch.zeros(shape, dtype=like.dtype, device=like.device)


@torch.library.custom_op("invid::render_rays_backward", mutates_args=())
def render_backward(
    field: list[Tensor],
    ood: list[Tensor],
    rays: list[Tensor],
    grads: list[Tensor],
    box_warp: float,
    flags: int,
    needs: list[int],
) -> list[Tensor]:
    """Return the gradients of `field`, `ood`, origins and directions, empty [0] where not needed.

    `grads` are those of OUTPUTS, empty where zero; `needs` as `_empty_gradients` takes them.
    """
    fields = [field, ood] if ood else [field]
    found = _empty_gradients(fields, rays[0], needs)
    call = _call(fields, rays, box_warp, flags)
    dense = [g.contiguous() for g in grads]
    call.v = _Outputs(*map(_pointer, dense))
    for place, of_field in enumerate(found[:-1]):
        names = ("v_planes", "v_w1", "v_b1", "v_w2", "v_b2")
        for name, tensor in zip(names, of_field, strict=True):
            setattr(call.field[place], name, _pointer(tensor))
        if of_field[0].numel():
            strides = _strides(of_field[0])
            for name, stride in zip(("v_frame", "v_plane", "v_row", "v_column"), strides, strict=True):
                setattr(call.field[place], name, stride)
    call.v_origins, call.v_directions = (_pointer(t) for t in found[-1])
    _run(call, True, rays[0])
    return [tensor for group in found for tensor in group]


@render_backward.register_fake
def _(*inputs: Any) -> list[Tensor]:
    field, ood, rays, *_, needs = inputs
    fields = [field, ood] if ood else [field]
    return [t for group in _empty_gradients(fields, rays[0], needs) for t in group]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    field, ood, rays, ctx.box_warp, ctx.flags, _ = inputs
    ctx.counts = len(field), len(ood)
    ctx.save_for_backward(*field, *ood, *rays)
    ctx.set_materialize_grads(False)
    ctx.needed = [[t.requires_grad for t in group] for group in (field, ood, rays)]


def _backward(ctx: Any, grads: list[Tensor | None]) -> tuple[Any, ...]:
    saved = list(ctx.saved_tensors)
    first, second = ctx.counts
    field, ood, rays = saved[:first], saved[first : first + second], saved[first + second :]
    of_field, of_ood, of_rays = ctx.needed
    needs = [bool(needed[0]) + 2 * any(needed[1:]) for needed in (of_field, of_ood) if needed]
    needs.append(int(any(of_rays[:2])))
    nothing = rays[0].new_empty(0)
    given = [nothing if g is None else g for g in grads]
    found = render_backward(field, ood, rays, given, ctx.box_warp, ctx.flags, needs)
    named = [t if t.numel() else None for t in found]
    of_origins = [*named[first + second :], None, None, None]
    return named[:first], named[first : first + second], of_origins, None, None, None


render.register_autograd(_backward, setup_context=_setup)
