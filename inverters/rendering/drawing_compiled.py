"""Drawing by the compiled library: ctypes calls. The structures mirror `csrc/include/invid_draw.h`."""

from __future__ import annotations

import ctypes
from ctypes import c_float, c_int32, c_void_p

import torch
from torch import Tensor

from inverters.errors import RendererError
from inverters.rendering import backends
from inverters.rendering.canvas import Canvas, Screen

_FAILURES = {
    1: "does not know this call; install Invid again",
    2: "has not enough memory or threads",
    3: "failed on the GPU",
}


def _fields(names: str, kind: type) -> tuple[tuple[str, type], ...]:
    return tuple((name, kind) for name in names.split())


class _Triangles(ctypes.Structure):
    _fields_ = (
        *_fields("abi threads height width triangles translucent", c_int32),
        *_fields("x y inverse_depth triangle two_sided colours labels", c_void_p),
        *_fields("colour depth label hit barycentric keys stream", c_void_p),
    )


class _Strands(ctypes.Structure):
    _fields_ = (
        *_fields("abi threads height width strands points label", c_int32),
        *_fields("opacity soft", c_float),
        *_fields("x y inverse_depth colours diameter colour depth label_of cells stream", c_void_p),
    )


class _Visibility(ctypes.Structure):
    _fields_ = (
        *_fields("abi threads directions occluders queries resolution", c_int32),
        *_fields("bias", c_float),
        *_fields("axes occluder query maps visible stream", c_void_p),
    )


def _run(name: str, call: ctypes.Structure, like: Tensor) -> None:
    library = backends.library(like.device.type)
    if isinstance(library, str):
        raise RendererError(f"the compiled {like.device.type} renderer is {library}")
    call.abi, call.threads = backends.DRAW_ABI, torch.get_num_threads()
    if like.is_cuda:
        call.stream = torch.cuda.current_stream(like.device).cuda_stream
    failure = library.drawing[name](ctypes.byref(call))
    if failure:
        reason = _FAILURES.get(failure, f"failed ({failure})")
        raise RendererError(f"the compiled {like.device.type} renderer {reason} ({name})")


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _triangles(
    screen: Screen, triangles: Tensor, two_sided: Tensor | None, depth: Tensor
) -> tuple[_Triangles, list[Tensor]]:
    """The call with `depth` and hits as outputs; its hits [H,W], and the other memory that it points to."""
    hit = torch.empty(depth.shape, dtype=torch.int32, device=depth.device)
    kept = [hit, *(t.contiguous() for t in (*screen, triangles))]
    kept += [] if two_sided is None else [two_sided.contiguous()]
    kept.append(torch.empty(depth.shape, dtype=torch.int64, device=depth.device))
    call = _Triangles(
        height=depth.shape[0],
        width=depth.shape[1],
        triangles=len(triangles),
        x=kept[1].data_ptr(),
        y=kept[2].data_ptr(),
        inverse_depth=kept[3].data_ptr(),
        triangle=kept[4].data_ptr(),
        two_sided=None if two_sided is None else kept[5].data_ptr(),
        depth=depth.data_ptr(),
        hit=hit.data_ptr(),
        keys=kept[-1].data_ptr(),
    )
    return call, kept


def hits(
    screen: Screen, triangles: Tensor, two_sided: Tensor | None, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """As `drawing_reference.hits`."""
    depth = torch.full(size, torch.inf, device=screen.x.device)
    barycentric = depth.new_empty(*size, 3)
    call, kept = _triangles(screen, triangles, two_sided, depth)
    call.barycentric = barycentric.data_ptr()
    _run("triangles", call, depth)
    return kept[0], barycentric


def draw_triangles(
    canvas: Canvas,
    screen: Screen,
    colours: Tensor,
    triangles: Tensor,
    labels: Tensor,
    two_sided: Tensor | None,
) -> None:
    """As `drawing_reference.draw_triangles`."""
    colours, labels = colours.contiguous(), labels.contiguous()
    call, kept = _triangles(screen, triangles, two_sided, canvas.depth)
    call.colours, call.labels = colours.data_ptr(), labels.data_ptr()
    call.colour, call.label = canvas.colour.data_ptr(), canvas.label.data_ptr()
    _run("triangles", call, canvas.depth)
    del kept


def draw_translucent(
    canvas: Canvas, screen: Screen, colours: Tensor, triangles: Tensor, labels: Tensor | None
) -> None:
    """As `drawing_reference.draw_translucent`."""
    colours = colours.contiguous()
    labels = None if labels is None else labels.contiguous()
    call, kept = _triangles(screen, triangles, None, canvas.depth)
    call.translucent = 1
    call.colours, call.labels = colours.data_ptr(), _pointer(labels)
    call.colour, call.label = canvas.colour.data_ptr(), canvas.label.data_ptr()
    _run("triangles", call, canvas.depth)
    del kept


def draw_strands(
    canvas: Canvas,
    screen: Screen,
    colours: Tensor,
    diameter: Tensor,
    opacity: float,
    soft: float,
    label: int,
) -> None:
    """As `drawing_reference.draw_strands`."""
    x, y, inverse, colours, diameter = (t.contiguous() for t in (*screen, colours, diameter))
    height, width = canvas.size
    cells = canvas.depth.new_empty(height, width + 9, 10)
    call = _Strands(
        height=height,
        width=width,
        strands=x.shape[0],
        points=x.shape[1],
        label=label,
        opacity=opacity,
        soft=soft,
        x=x.data_ptr(),
        y=y.data_ptr(),
        inverse_depth=inverse.data_ptr(),
        colours=colours.data_ptr(),
        diameter=diameter.data_ptr(),
        colour=canvas.colour.data_ptr(),
        depth=canvas.depth.data_ptr(),
        label_of=canvas.label.data_ptr(),
        cells=cells.data_ptr(),
    )
    _run("strands", call, canvas.depth)


def visibility(queries: Tensor, occluders: Tensor, axes: Tensor, bias: float, resolution: int) -> Tensor:
    """As `drawing_reference.visibility`."""
    directions = len(axes)
    visible = queries.new_empty(directions, queries.shape[1])
    maps = queries.new_empty(directions, resolution * resolution + 1)
    axes, occluders, queries = (t.contiguous() for t in (axes, occluders, queries))
    call = _Visibility(
        directions=directions,
        occluders=occluders.shape[1],
        queries=queries.shape[1],
        resolution=resolution,
        bias=bias,
        axes=axes.data_ptr(),
        occluder=occluders.data_ptr(),
        query=queries.data_ptr(),
        maps=maps.data_ptr(),
        visible=visible.data_ptr(),
    )
    _run("visible", call, queries)
    return visible
