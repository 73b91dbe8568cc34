"""The renderer that others call: checks the arguments, then runs the compiled renderer or the reference."""

from __future__ import annotations

import torch
from torch import Tensor

from inverters.rendering import backends, reference
from inverters.rendering.backends import Backend
from inverters.rendering.fields import Field
from inverters.rendering.marching import Transmittance
from inverters.rendering.reference import RayResult
from inverters.rendering.sampling import Sampling

__all__ = ["Field", "RayResult", "Sampling", "render_rays"]


def render_rays(
    field: Field,
    origins: Tensor,
    directions: Tensor,
    sampling: Sampling,
    ood: Field | None = None,
    transmittance: Transmittance = "product",
    want_samples: bool = False,
    want_ood_features: bool = False,
    backend: Backend | None = None,
) -> RayResult:
    """Render rays through one field or two (EG3D, section 4; In-N-Out, equations 2 to 4).

    Differentiable in planes, decoders and rays, not in the depths of samples.

    `field` is the generator's, `ood` a second field with a blend over the same samples, composited as
    `marching.composite_weights` says. `origins` and `directions` are [N,R,3] in world units, directions of
    unit length. `want_samples` adds weights, depths and blends of samples to the result, `want_ood_features`
    the second field rendered alone. A `backend` of None takes that of `backends.requested`.

    Raises:
        ValueError: the shapes do not fit together.
        RendererError: the requested renderer cannot do it.
    """
    _check(field, ood, origins, directions)
    widths = [_widths(one, blends) for blends, one in enumerate((field, ood)) if one is not None]
    if not backends.choose(backend or backends.requested(), origins.device.type, *widths):
        return reference.render_rays(
            field, origins, directions, sampling, ood, transmittance, want_samples, want_ood_features
        )
    from inverters.rendering import compiled

    n, rays, _ = origins.shape
    depths, limits = sampling.coarse_depths(n, rays, origins)
    flags = (
        compiled.FIXED_AXES * (sampling.plane_axes == "fixed")
        + compiled.SUM * (transmittance == "sum")
        + compiled.WHITE * sampling.white_back
        + compiled.DETERMINISTIC * torch.are_deterministic_algorithms_enabled()
        + compiled.TF32 * (backends.precision() == "tf32")
    )
    found = compiled.render(
        _tensors(field),
        [] if ood is None else _tensors(ood),
        [
            origins.contiguous(),
            directions.contiguous(),
            _dense_last(depths),
            _dense_last(sampling.fine_positions(n, rays, origins)),
            limits,
        ],
        sampling.box_warp,
        flags,
        compiled.SAMPLES * want_samples + compiled.OOD_FEATURES * (want_ood_features and ood is not None),
    )
    named = dict(zip(compiled.OUTPUTS, found, strict=True))
    present = _outputs(ood is not None, want_samples, want_ood_features)
    return RayResult(**{name: tensor for name, tensor in named.items() if name in present})


def _outputs(ood: bool, want_samples: bool, want_ood_features: bool) -> set[str]:
    """Names of the outputs that a call asks for."""
    present = {"features", "depth", "opacity"}
    if ood:
        present |= {"blend", "ood_opacity"} | ({"ood_features"} if want_ood_features else set())
    if want_samples:
        present |= {"weights", "depths"} | ({"sample_blend"} if ood else set())
    return present


def _widths(field: Field, blends: int) -> backends.Widths:
    return field.planes.shape[2], len(field.decoder.weight1), len(field.decoder.weight2) - 1 - blends


def _tensors(field: Field) -> list[Tensor]:
    """Planes [.,3,R,R,C] with contiguous channels (copied only if they are not), and weights."""
    decoder = field.decoder
    planes = _dense_last(field.planes.permute(0, 1, 3, 4, 2))
    _, _, *within, _ = planes.stride()
    # Copied if expanded, since each frame needs its own gradient, or if offsets in a plane exceed 32 bits.
    if 0 in planes.stride() or max(within) * planes.shape[2] >= 2**30:
        planes = planes.contiguous()
    bias1 = decoder.bias1 if decoder.bias1.ndim == 2 else decoder.bias1[None]
    weights = (decoder.weight1, bias1, decoder.weight2, decoder.bias2)
    return [planes, *(w.contiguous() for w in weights)]


def _dense_last(tensor: Tensor) -> Tensor:
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] <= 1 else tensor.contiguous()


def _check(field: Field, ood: Field | None, origins: Tensor, directions: Tensor) -> None:
    if origins.ndim != 3 or origins.shape[-1] != 3 or origins.shape != directions.shape:
        raise ValueError(
            f"rays need origins and directions [N,R,3], not {list(origins.shape)}, {list(directions.shape)}"
        )
    n = len(origins)
    for one, blends in ((field, 0), (ood, 1)):
        if one is None:
            continue
        planes, d = one.planes, one.decoder
        shape = planes.shape
        if planes.ndim != 5 or shape[0] not in (1, n) or shape[1] != 3 or shape[3] != shape[4]:
            raise ValueError(f"planes must be [1 or {n},3,C,R,R], not {list(shape)}")
        hidden, outputs = len(d.weight1), len(field.decoder.weight2) + blends
        frames = d.bias1.shape[:-1]
        fits = d.weight1.shape == (hidden, shape[2]) and d.weight2.shape == (outputs, hidden)
        fits = fits and d.bias2.shape == (outputs,) and d.bias1.shape[-1] == hidden
        if not fits or frames not in ((), (1,), (n,)):
            shapes = [list(t.shape) for t in (d.weight1, d.bias1, d.weight2, d.bias2)]
            raise ValueError(f"a decoder of {shapes} does not fit planes {list(shape)}, {outputs} outputs")
        for tensor in (planes, d.weight1, d.bias1, d.weight2, d.bias2):
            if tensor.dtype != origins.dtype or tensor.device != origins.device:
                raise ValueError(
                    f"fields and rays must be alike: {tensor.dtype} on {tensor.device}, "
                    f"{origins.dtype} on {origins.device}"
                )
