"""Reading of official EG3D snapshots: configuration and tensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from inverters.errors import CheckpointError
from inverters.generators.config import GeneratorConfig, PlaneAxes, SuperresolutionKind
from inverters.generators.plain_pickle import shown
from inverters.generators.unpickle import Module, read_snapshot

_SUPERRESOLUTION = {
    "SuperresolutionHybrid8XDC": "8XDC",
    "SuperresolutionHybrid8X": "8X",
    "SuperresolutionHybrid4X": "4X",
    "SuperresolutionHybrid2X": "2X",
}
_TRAINING_ONLY = ("dataset_label_std",)


def read_official(
    path: Path, plane_axes: PlaneAxes = "original"
) -> tuple[GeneratorConfig, dict[str, Tensor]]:
    """Return configuration and tensors of the moving-average generator of an official snapshot.

    Args:
        path: the snapshot (.pkl).
        plane_axes: the projection of the planes, which the file does not store: `original` for
            ffhqrebalanced512-128 and ffhq512-128, `fixed` for ffhq-fixed-triplane512-128.

    Raises:
        CheckpointError: the file is unreadable, unsafe, or not a known generator.
    """
    module: Module = read_snapshot(path)["G_ema"]
    if module.class_name != "TriPlaneGenerator":
        raise CheckpointError(f"'{path}' holds a '{shown(module.class_name)}', not EG3D's TriPlaneGenerator")
    try:
        tensors = {k: v for k, v in module.tensors().items() if k not in _TRAINING_ONLY}
        return _config(module.attributes, tensors, plane_axes).checked(), tensors
    except CheckpointError as error:
        raise CheckpointError(f"'{path}' cannot be used: {error}") from None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise CheckpointError(
            f"'{path}' is not a complete EG3D generator ({type(error).__name__}: {shown(str(error))})"
        ) from error


def _config(
    attributes: Mapping[str, Any], tensors: Mapping[str, Tensor], plane_axes: PlaneAxes
) -> GeneratorConfig:
    """Configuration from constructor arguments and rendering options, and from shapes where those suffice."""
    init: Mapping[str, Any] = attributes["_init_kwargs"]
    rendering: Mapping[str, Any] = attributes.get("rendering_kwargs") or init["rendering_kwargs"]
    module = rendering["superresolution_module"]
    kind = shown(module).rsplit(".", 1)[-1]
    if kind not in _SUPERRESOLUTION:
        raise CheckpointError(f"its super-resolution module '{kind}' is not known here")
    if rendering.get("disparity_space_sampling") or rendering.get("clamp_mode", "softplus") != "softplus":
        raise CheckpointError(
            "it samples in disparity or uses another density than softplus, which is not known here"
        )
    if isinstance(rendering["ray_start"], str) or isinstance(rendering["ray_end"], str):
        raise CheckpointError("it has automatic ray limits, which are not known here")
    resolution = max(int(k.split(".")[2][1:]) for k in tensors if k.startswith("backbone.synthesis.b"))
    planes = tensors[f"backbone.synthesis.b{resolution}.torgb.weight"]
    pivot = rendering.get("avg_camera_pivot", (0.0, 0.0, 0.2))
    clamp = init.get("conv_clamp")
    return GeneratorConfig(
        z_dim=int(init["z_dim"]),
        w_dim=int(init["w_dim"]),
        c_dim=int(init["c_dim"]),
        mapping_layers=sum(k.startswith("backbone.mapping.fc") and k.endswith(".weight") for k in tensors),
        mapping_features=tensors["backbone.mapping.fc0.weight"].shape[0],
        channel_base=int(init.get("channel_base", 32768)),
        channel_max=int(init.get("channel_max", 512)),
        conv_clamp=None if clamp is None else float(clamp),
        plane_resolution=resolution,
        plane_channels=planes.shape[0] // 3,
        plane_axes=plane_axes,
        img_resolution=int(init["img_resolution"]),
        neural_rendering_resolution=int(attributes["neural_rendering_resolution"]),
        feature_channels=tensors["decoder.net.2.weight"].shape[0] - 1,
        decoder_hidden=tensors["decoder.net.0.weight"].shape[0],
        decoder_lr_mul=float(rendering.get("decoder_lr_mul", 1.0)),
        superresolution=cast(SuperresolutionKind, _SUPERRESOLUTION[kind]),
        sr_antialias=bool(rendering["sr_antialias"]),
        sr_conv_clamp=256.0 if init.get("sr_num_fp16_res", 0) > 0 else None,
        ray_start=float(rendering["ray_start"]),
        ray_end=float(rendering["ray_end"]),
        depth_resolution=int(rendering["depth_resolution"]),
        depth_resolution_importance=int(rendering["depth_resolution_importance"]),
        box_warp=float(rendering["box_warp"]),
        white_back=bool(rendering.get("white_back", False)),
        c_scale=float(rendering.get("c_scale", 0.0)),
        c_gen_conditioning_zero=bool(rendering.get("c_gen_conditioning_zero", False)),
        camera_radius=float(rendering.get("avg_camera_radius", 2.7)),
        camera_pivot=(float(pivot[0]), float(pivot[1]), float(pivot[2])),
    )
