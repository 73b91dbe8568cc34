"""`invid doctor`: what is installed and found on this machine."""

from __future__ import annotations

import platform
from importlib import metadata
from importlib.util import find_spec
from json import dumps
from typing import Annotated, Any

from inverters import threads
from pipeline.commands.guard import say
from pipeline.request.fields import Option

_PACKAGES = (
    "invid",
    "torch",
    "torchvision",
    "numpy",
    "av",
    "decord",
    "mediapipe",
    "face-alignment",
    "lpips",
    "zarr",
    "ffmpeg-python",
    "imageio-ffmpeg",
    "prefect",
    "cyclopts",
)


def run(*, generator: Annotated[str, Option(metavar="bundled|PATH")] = "bundled", json: bool = False) -> int:
    """Print what is installed and found on this machine, as a block to paste into a bug report.

    The exit code is 1 where something that a job needs is missing.

    Args:
        generator: The generator to look at.
        json: Print JSON.
    """
    found = examine(generator)
    if json:
        print(dumps(found, indent=1))
    else:
        for name, value in _lines(found):
            say(f"{name:<22} {value}")
    return 0 if found["ready"] else 1


def examine(generator: str = "bundled") -> dict[str, Any]:
    """Versions, devices, the ffmpeg binary, the generator and the optional weights, as JSON values."""
    import torch

    from inverters.rendering.backends import describe

    packages = {name: _version(name) for name in _PACKAGES}
    card = _generator(generator)
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpus": threads.cores(),
        "gpus": gpus,
        "packages": packages,
        "renderer": describe(),
        "threads": threads.describe(),
        "ffmpeg": _ffmpeg(),
        "generator": card,
        "lpips_weights": _lpips(),
        "mediapipe_models": find_spec("mediapipe") is not None,
        "fan_weights": _fan(),
        "ready": "error" not in card and None not in packages.values(),
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _ffmpeg() -> str:
    """The version of the binary that --ingest uses."""
    import imageio_ffmpeg

    try:
        return str(imageio_ffmpeg.get_ffmpeg_version())
    except (RuntimeError, OSError) as error:
        return f"not found ({error})"


def _generator(source: str) -> dict[str, Any]:
    from inverters.errors import InverterError
    from inverters.generators.load import load_generator

    try:
        card = load_generator(source).card
    except InverterError as error:
        return {"error": str(error)}
    return {
        "name": card.name,
        "fingerprint": card.fingerprint[:12],
        "resolution": card.config.img_resolution,
        "directions": sorted(card.directions),
        "landmarks": sorted(card.landmarks3d),
    }


def _lpips() -> bool:
    """Whether the learned loss has its weights; without them a loss that needs none takes its place."""
    from inverters.fitting.losses import load_lpips

    return load_lpips("alex") is not None


def _fan() -> bool:
    from pipeline.faces.fan import weights_path

    return weights_path().is_file()


def _lines(found: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    lines = []
    for key, value in found.items():
        if isinstance(value, dict):
            lines += _lines(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            lines.append((prefix + key, ", ".join(map(str, value)) or "none"))
        else:
            shown = (
                {True: "yes", False: "no", None: "missing"}.get(value, value)
                if value in (True, False, None)
                else value
            )
            lines.append((prefix + key, str(shown)))
    return lines
