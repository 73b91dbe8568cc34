"""Table of face landmark models by name; a model's module is imported when the model is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from pipeline.errors import UnknownNameError
from pipeline.faces.landmark_model import LandmarkModel

LANDMARK_MODELS = {
    "mediapipe": "pipeline.faces.mediapipe_mesh:MediaPipeMesh",
    "fan": "pipeline.faces.fan:FanLandmarks",
    "fan:download": "pipeline.faces.fan:fan_with_download",
    "3ddfa:PATH": "pipeline.faces.tddfa:TddfaLandmarks",
}
"""`--detector` name -> `module:callable` that creates the model; a name with `:PATH` passes the path."""


def load_landmark_model(spec: str) -> LandmarkModel:
    """Create the landmark model of a `--detector` name: a key of `LANDMARK_MODELS`, PATH filled in.

    Raises UnknownNameError for another name, UserError where the model's weights cannot be had.
    """
    name, _, path = spec.partition(":")
    takes_path = bool(path) and f"{name}:PATH" in LANDMARK_MODELS
    target = LANDMARK_MODELS.get(f"{name}:PATH" if takes_path else spec)
    if target is None:
        raise UnknownNameError(f"unknown face detector '{spec}'; known: {', '.join(LANDMARK_MODELS)}")
    module, _, attribute = target.partition(":")
    make = getattr(import_module(module), attribute)
    return cast(LandmarkModel, make(path) if takes_path else make())
