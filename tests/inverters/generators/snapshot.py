"""Writes generators in the layout of the official snapshots, and hostile variants of it, for tests."""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from inverters.generators.config import GeneratorConfig
from inverters.generators.eg3d import Generator, PlaneDecoder

SOURCE = "raise SystemExit('the source text of a snapshot was run')\n"


@contextmanager
def official_modules() -> Iterator[dict[str, Any]]:
    """The names that a snapshot's pickle refers to, importable while one is written."""
    names: dict[str, Any] = {}

    def place(module: str, name: str, value: Any) -> None:
        value.__module__, value.__qualname__, value.__name__ = module, name, name
        parts = module.split(".")
        for k in range(1, len(parts) + 1):
            sys.modules.setdefault(".".join(parts[:k]), ModuleType(".".join(parts[:k])))
        setattr(sys.modules[module], name, value)
        names[name] = value

    before = set(sys.modules)
    try:
        place("dnnlib.util", "EasyDict", type("EasyDict", (dict,), {}))
        place("torch_utils.persistence", "_reconstruct_persistent_obj", lambda meta: meta)
        place("training.triplane", "OSGDecoder", type("OSGDecoder", (), {}))
        place(
            "training.volumetric_rendering.renderer", "ImportanceRenderer", type("ImportanceRenderer", (), {})
        )
        yield names
    finally:
        for name in set(sys.modules) - before:
            if name.split(".")[0] in ("dnnlib", "torch_utils", "training"):
                del sys.modules[name]


class Persistent:
    """Pickles as a persistent object of this class name and state."""

    def __init__(self, reconstruct: Callable[..., Any], class_name: str, state: Mapping[str, Any]) -> None:
        self.reconstruct, self.class_name, self.state = reconstruct, class_name, state

    def __reduce__(self) -> tuple[Any, ...]:
        meta = {
            "type": "class",
            "version": 6,
            "module_src": SOURCE,
            "class_name": self.class_name,
            "state": self.state,
        }
        return self.reconstruct, (meta,)


def _state(module: nn.Module, names: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The `__dict__` of a module of the official code, with our tensors."""
    return {
        "training": False,
        "_parameters": dict(module._parameters),
        "_buffers": dict(module._buffers),
        "_non_persistent_buffers_set": set(),
        "_modules": {k: _record(m, names) for k, m in module._modules.items() if m is not None},
        "weight_gain": np.float64(0.1),
        "_init_args": (),
        **more,
    }


def _record(module: nn.Module, names: dict[str, Any]) -> Any:
    if isinstance(module, PlaneDecoder):
        found = names["OSGDecoder"]()
        found.__dict__.update(_state(module, names))
        return found
    if isinstance(module, nn.Sequential):
        found = nn.Sequential.__new__(nn.Sequential)
        found.__dict__.update(_state(module, names))
        return found
    if isinstance(module, nn.Softplus):
        return nn.Softplus()
    return Persistent(names["_reconstruct_persistent_obj"], type(module).__name__, _state(module, names))


def init_kwargs(config: GeneratorConfig) -> dict[str, Any]:
    """Constructor arguments of the official class for this architecture."""
    rendering = {
        "depth_resolution": config.depth_resolution,
        "depth_resolution_importance": config.depth_resolution_importance,
        "ray_start": config.ray_start,
        "ray_end": config.ray_end,
        "box_warp": config.box_warp,
        "avg_camera_radius": config.camera_radius,
        "avg_camera_pivot": list(config.camera_pivot),
        "image_resolution": config.img_resolution,
        "disparity_space_sampling": False,
        "clamp_mode": "softplus",
        "superresolution_module": f"training.superresolution.SuperresolutionHybrid{config.superresolution}",
        "c_gen_conditioning_zero": config.c_gen_conditioning_zero,
        "c_scale": config.c_scale,
        "superresolution_noise_mode": "none",
        "sr_antialias": config.sr_antialias,
        "decoder_lr_mul": config.decoder_lr_mul,
    }
    return {
        "z_dim": config.z_dim,
        "w_dim": config.w_dim,
        "mapping_kwargs": {"num_layers": config.mapping_layers},
        "channel_base": config.channel_base,
        "channel_max": config.channel_max,
        "rendering_kwargs": rendering,
        "num_fp16_res": 0,
        "sr_num_fp16_res": 4,
        "conv_clamp": config.conv_clamp,
        "c_dim": config.c_dim,
        "img_resolution": config.img_resolution,
        "img_channels": 3,
    }


def write_snapshot(
    path: Path, generator: Generator, change: Callable[[dict[str, Any], dict[str, Any]], None] | None = None
) -> None:
    """Write `generator` as an official snapshot; `change(state of G_ema, top)` may alter it first."""
    config = generator.config
    with official_modules() as names:
        init = init_kwargs(config)
        rendering = names["EasyDict"](init["rendering_kwargs"])
        state = _state(
            generator,
            names,
            _init_kwargs={**init, "rendering_kwargs": rendering},
            rendering_kwargs=rendering,
            neural_rendering_resolution=config.neural_rendering_resolution,
            renderer=names["ImportanceRenderer"](),
            _last_planes=None,
        )
        state["_buffers"] = {**state["_buffers"], "dataset_label_std": torch.ones(25)}
        g = Persistent(names["_reconstruct_persistent_obj"], "TriPlaneGenerator", state)
        top = {"training_set_kwargs": {}, "G": None, "D": None, "G_ema": g, "augment_pipe": None}
        if change is not None:
            change(state, top)
        buffer = io.BytesIO()
        pickle.dump(top, buffer, protocol=4)
    path.write_bytes(buffer.getvalue())
