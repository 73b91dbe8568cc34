"""Everything about a request that can be checked before any heavy work, cheapest first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from pipeline.errors import UnknownNameError, UserError
from pipeline.report.output_folder import OutputFolder
from pipeline.request.settings import Settings

READERS = ("av", "decord")
SMOOTHINGS = ("box", "gaussian", "none")
STITCHINGS = ("weights", "codes")
OUTPUTS = ("edited", "removal", "removal_edited", "view", "turned", "crops", "comparison")
DETECTORS = ("mediapipe", "fan", "3ddfa:PATH")


def check_request(path: Path, out: Path, settings: Settings) -> None:
    """Raise UserError for an input, an output folder or a setting that cannot be meant."""
    _check_input(path)
    _check_cheaply(settings)
    if path.resolve().parent == out.resolve() and path.stem in OUTPUTS:
        raise UserError(
            f"--out {out}: the result would take the place of the input {path.name}; choose another folder"
        )
    if settings.composite.stitch is not None and not settings.edit.edits and not settings.edit.inset:
        raise UserError("--stitch has nothing to stitch without an edit; give --edit NAME=VALUE as well")
    if settings.edit.inset and settings.edit.view is None:
        raise UserError("--inset has no view to put into the frames; give --view yaw=Y,pitch=P as well")
    OutputFolder(out).close()
    _check_method(settings)


def check_settings(settings: Settings) -> None:
    """The same of the settings alone, whatever the clip."""
    _check_cheaply(settings)
    _check_method(settings)


def _check_cheaply(settings: Settings) -> None:
    _check_names(settings)
    _check_numbers(settings)
    _check_paths(settings)


def _check_input(path: Path) -> None:
    from pipeline.video.container import open_video, video_stream

    with open_video(path) as container:
        video_stream(container, path)


def _known(kind: str, name: str, names: Iterable[str]) -> None:
    listed = list(names)
    if name not in listed:
        raise UnknownNameError(f"unknown {kind} '{name}'; known: {', '.join(listed)}")


def _check_names(settings: Settings) -> None:
    from pipeline.video.codecs import suffix_for

    suffix_for(settings.encode.codec)
    _known("reader", settings.decode.reader, READERS)
    _known("smoothing", settings.track.smoothing, SMOOTHINGS)
    if settings.composite.stitch is not None:
        _known("way to stitch", settings.composite.stitch, STITCHINGS)
    detector = settings.track.detector
    if not detector.startswith("3ddfa:"):
        _known("detector", detector, DETECTORS)
    if settings.decode.ingest:
        from pipeline.video.ingest import parse_ingest

        parse_ingest(settings.decode.ingest)


def _check_numbers(settings: Settings) -> None:
    limits = [
        ("--max-frames", settings.decode.max_frames, 1),
        ("--face", settings.track.face, 0),
        ("--steps", settings.invert.steps, 1),
        ("--finetune-steps", settings.finetune.steps, 1),
        ("--quality", settings.encode.quality, 0),
    ]
    for name, value, least in limits:
        if value is not None and value < least:
            raise UserError(f"{name} must be {least} or more, not {value}")
    if settings.encode.quality is not None and settings.encode.quality > 51:
        raise UserError(f"--quality is a CRF from 0 (lossless) to 51, not {settings.encode.quality}")
    if settings.track.smoothing_window < 0:
        raise UserError(f"--smoothing-window must not be negative, as {settings.track.smoothing_window:g} is")


def _check_paths(settings: Settings) -> None:
    generator, labels = settings.generator, settings.camera.labels
    if generator != "bundled":
        if Path(generator).suffix not in (".pkl", ".safetensors"):
            raise UnknownNameError(
                f"unknown generator '{generator}'; known: bundled, PATH.pkl, PATH.safetensors"
            )
        if not Path(generator).is_file():
            raise UserError(f"--generator {generator}: there is no such file; check the path")
    for file in settings.edit.directions:
        if not Path(file).is_file():
            raise UserError(f"--directions {file}: there is no such file; check the path")
    if labels is not None and not Path(labels).is_file():
        raise UserError(f"--cameras {labels}: there is no such file; give EG3D's dataset.json")
    if settings.track.detector.startswith("3ddfa:"):
        model = Path(settings.track.detector.partition(":")[2])
        if not model.is_file():
            raise UserError(f"--detector 3ddfa:{model}: there is no such file; name the 3DDFA_V2 model")
    if settings.invert.occluder_masks is not None:
        from pipeline.request.occluder_masks import mask_files

        mask_files(Path(settings.invert.occluder_masks))


def _check_method(settings: Settings) -> None:
    """The method's and the preset's names; loads torch, so it comes last."""
    import torch

    from inverters.editing.smoothing import KINDS
    from inverters.methods.table import find_method, settings_of

    _known("smoothing of codes", settings.edit.smooth, KINDS)
    device = settings.device
    if device not in ("auto", "cpu") and not device.startswith("cuda"):
        raise UnknownNameError(f"unknown device '{device}'; known: auto, cpu, cuda, cuda:N")
    if device.startswith("cuda"):
        count = torch.cuda.device_count()
        number = device.partition(":")[2] or "0"
        if not number.isdigit() or int(number) >= count:
            raise UserError(f"--device {device}: this machine has {count} CUDA devices; use --device cpu")
    _check_renderer(settings.renderer, device)
    method = find_method(settings.invert.method)
    if settings.invert.without and settings.invert.method != "in-n-out":
        words = " ".join(f"--{name}" for name in settings.invert.without)
        raise UserError(f"{words}: is an ablation of in-n-out, not of {settings.invert.method}")
    chosen = settings_of(method, settings.invert.preset, settings.invert.without)
    if chosen.needs_masks and settings.invert.occluder_masks is None:
        raise UserError(
            f"--preset {chosen.name} is made for masks; give --occluder-masks DIR, or another preset"
        )


def device_of(name: str) -> str:
    """The device that a job runs on: `name`, or the best there is for "auto"."""
    import torch

    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def _check_renderer(renderer: str, device: str) -> None:
    """A renderer named outright must be there, and for the device."""
    from inverters.rendering import backends

    _known("renderer", renderer, backends.BACKENDS)
    if renderer in ("auto", "reference"):
        return
    kind = device_of(device).partition(":")[0]
    if renderer != kind:
        raise UserError(f"--renderer {renderer} cannot render on {kind}; use --renderer auto")
    if isinstance(found := backends.library(renderer), str):
        raise UserError(f"--renderer {renderer}: it is {found}; use --renderer auto")


def with_default_preset(settings: Settings) -> Settings:
    """The settings with a preset that suits the device: `draft` on a CPU, `fast` on CUDA."""
    preset = "fast" if device_of(settings.device).startswith("cuda") else "draft"
    return replace(settings, invert=replace(settings.invert, preset=preset))
