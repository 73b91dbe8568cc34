"""Format of the truth beside a synthetic clip: constants and contents of truth.json (docs/formats.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from inverters.people.animation import ClipScript
from inverters.people.body_file import load_body
from inverters.people.clip_render import blendshapes
from inverters.people.params import PARAMETERS, index
from pipeline.samples.settings import SampleSettings

FORMAT, VERSION = "invid-sample-truth", 1
EDIT_STRENGTH = 1.5
"""Standard deviations by which each attribute is moved in the truth's edits."""
DEPTH_STRIDE = 4
"""The depth of every 4th pixel in x and y is stored."""
DEPTH_UNIT = 2.0e-5
"""World units per step of the stored depth; 16 bits reach 1.31 beyond DEPTH_NEAR."""
DEPTH_NEAR = 2.2
"""Depth in world units that is stored as 0."""
_CROP_SIZE = 256


def truth_folder(video: Path) -> Path:
    """Folder of a clip's truth: `clip.truth/` beside `clip.mp4`."""
    return video.with_suffix(".truth")


def describe(script: ClipScript, settings: SampleSettings, video: str) -> dict[str, Any]:
    """Contents of truth.json, as JSON values."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "video": video,
        "seed": settings.seed,
        "fps": settings.fps,
        "frames": len(script),
        "size": list(settings.size),
        "occluder": script.occluder,
        "occluder_state": {name: _rounded(value[:, 0]) for name, value in script.state.items()},
        "parameters": [parameter.name for parameter in PARAMETERS],
        "scores": _rounded(script.scores),
        "blendshapes": {"names": list(load_body().actions.names), "values": _blendshapes(script.scores)},
        "speech": _rounded(script.speech),
        "cam2world": _rounded(script.cam2world, 7),
        "intrinsics": _rounded(script.intrinsics, 7),
        "crop": {"size": _CROP_SIZE, "affine": _rounded(script.crop_affine(_CROP_SIZE), 7)},
        "masks": "mask",
        "alpha": "alpha",
        "clean": "clean.mp4",
        "edits": _edits(script, settings, ""),
        "views": [_view(script, settings, k) for k in range(len(settings.views))],
        "depth": {"file": "depth.npz", "near": DEPTH_NEAR, "unit": DEPTH_UNIT, "stride": DEPTH_STRIDE},
    }


def _edits(script: ClipScript, settings: SampleSettings, prefix: str) -> dict[str, dict[str, Any]]:
    """Entries of the edits as seen from one camera."""
    return {
        attribute: {
            "strength": EDIT_STRENGTH,
            "blendshapes": _blendshapes(moved(script.scores, attribute)),
            "clean": f"{prefix}edit_{attribute}.mp4",
            "occluded": f"{prefix}edit_{attribute}_occluded.mp4" if script.occluder else None,
        }
        for attribute in settings.attributes
    }


def _view(script: ClipScript, settings: SampleSettings, k: int) -> dict[str, Any]:
    """Entry of view k: angles and videos."""
    return {
        "yaw": settings.views[k].yaw,
        "pitch": settings.views[k].pitch,
        "clean": f"view{k}_clean.mp4",
        "occluded": f"view{k}_occluded.mp4" if script.occluder else None,
        "edits": _edits(script, settings, f"view{k}_"),
    }


def moved(scores: torch.Tensor, attribute: str) -> torch.Tensor:
    """Scores [T,P] with one attribute moved by EDIT_STRENGTH."""
    found = scores.clone()
    found[:, index(attribute)] += EDIT_STRENGTH
    return found


def _blendshapes(scores: torch.Tensor) -> Any:
    """Strengths of the face actions, [T,52], in the order of their names in the mesh's file."""
    return _rounded(blendshapes(scores, load_body().actions.names), 4)


def _rounded(values: torch.Tensor, digits: int = 5) -> Any:
    """Tensor as nested lists of rounded numbers."""
    return np.round(values.double().numpy(), digits).tolist()
