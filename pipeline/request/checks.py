"""Checks of a request before any heavy work, cheapest first."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from inverters.methods.table import ENCODERS, find_method
from pipeline.errors import UnknownNameError, UserError, shortened
from pipeline.request.edits import check_once
from pipeline.request.face_settings import all_edits, check_faces, faces_of, settings_of_face
from pipeline.request.fields import fields_of, value_at
from pipeline.request.paths import is_file, user_paths
from pipeline.request.settings import Settings

OUTPUTS = ("edited", "removal", "removal_edited", "view", "turned", "crops", "comparison")
PAGES = ("report.html", "manifest.json")
DETECTORS = ("mediapipe", "fan")
_ADVICE = {"--cameras": "give EG3D's dataset.json", "--detector": "name the 3DDFA_V2 model"}


def check_request(path: Path, out: Path, settings: Settings) -> None:
    """Check the input, the output folder's name and the settings. Raises UserError for what cannot be met.

    Whether the folder can be written is seen by whoever opens it.
    """
    _check_input(path)
    _check_cheaply(settings)
    real = path.resolve()
    if real == out.resolve():
        raise UserError(f"--out {out}: is the folder of the input's pictures; choose another folder")
    name = real.stem.partition(".")[0]
    if real.parent == out.resolve() and (name.removesuffix("_layer") in OUTPUTS or real.name in PAGES):
        raise UserError(
            f"--out {out}: the result would take the place of the input {path.name}; choose another folder"
        )
    masks = settings.composite.face_masks
    if masks is not None and Path(masks).resolve() == out.resolve():
        raise UserError(f"--out {out}: is the folder of the face masks; choose another folder")
    if settings.composite.stitch is not None and not all_edits(settings) and not settings.edit.inset:
        raise UserError("--stitch has nothing to stitch without an edit; give --edit NAME=VALUE as well")
    if settings.edit.inset and settings.edit.view is None:
        raise UserError("--inset has no view to put into the frames; give --view yaw=Y,pitch=P as well")
    _check_method(settings)


def check_settings(settings: Settings) -> None:
    """Raise UserError for settings that cannot be met, whatever the clip."""
    _check_cheaply(settings)
    _check_method(settings)


def _check_cheaply(settings: Settings) -> None:
    for field in fields_of(Settings):
        field.check(value_at(settings, field.at))
    check_faces(settings.track.face, settings)
    for place in range(len(faces_of(settings))):
        check_once(settings_of_face(settings, place).edit.edits)
    _check_names(settings)
    _check_paths(settings)


def _check_input(path: Path) -> None:
    from pipeline.video.container import open_video, video_stream
    from pipeline.video.sequences import picture_files

    if picture_files(path) is not None:
        return
    with open_video(path) as container:
        video_stream(container, path)


def _check_quality(settings: Settings) -> None:
    codec, quality = settings.encode.codec, settings.encode.quality
    most = {"auto": 51, "h264": 51, "hevc": 51, "vp9": 63}.get(codec, 100)
    if quality is not None and quality > most:
        shown = "a film" if most == 51 else codec
        raise UserError(f"--quality must be {most} or less for {shown}, not {quality}")


def _check_names(settings: Settings) -> None:
    _check_quality(settings)
    if settings.decode.ingest:
        from pipeline.video.ingest import parse_ingest

        parse_ingest(settings.decode.ingest)
    detector = settings.track.detector
    if detector not in DETECTORS and not detector.startswith("3ddfa:"):
        known = ", ".join((*DETECTORS, "3ddfa:PATH"))
        raise UnknownNameError(f"unknown detector '{shortened(detector)}'; known: {known}")
    device = settings.device
    if device not in ("auto", "cpu") and not device.startswith("cuda"):
        raise UnknownNameError(f"unknown device '{shortened(device)}'; known: auto, cpu, cuda, cuda:N")
    _check_encoder(settings)
    if settings.invert.without and settings.invert.method != "in-n-out":
        words = " ".join(f"--{name}" for name in settings.invert.without)
        raise UserError(f"{words}: is an ablation of in-n-out, not of {settings.invert.method}")


def _check_encoder(settings: Settings) -> None:
    """Check that what is asked of encoders goes together."""
    chosen = with_start(settings).invert
    if chosen.start != "none" and chosen.method in ENCODERS:
        raise UserError(
            f"--start {chosen.start}: the inverter {chosen.method} is itself an encoder and takes no steps; "
            "leave out --start"
        )
    if chosen.encoder is not None and chosen.start == "none" and chosen.method not in ENCODERS:
        raise UserError(
            f"--encoder {shortened(chosen.encoder)}: nothing asks for an encoder; give --start NAME, or "
            "--inverter NAME of one"
        )
    if chosen.steps is not None and chosen.method in ENCODERS:
        raise UserError(f"--steps {chosen.steps}: the encoder {chosen.method} takes no steps; leave it out")
    if chosen.space is not None and chosen.method in ENCODERS:
        raise UserError(f"--space {chosen.space}: the encoder {chosen.method} tells w+; leave it out")


def _check_paths(settings: Settings) -> None:
    generator = settings.generator
    if generator != "bundled" and Path(generator).suffix not in (".pkl", ".safetensors"):
        known = "bundled, PATH.pkl, PATH.safetensors"
        raise UnknownNameError(f"unknown generator '{shortened(generator)}'; known: {known}")
    for named in user_paths(settings):
        if named.folder:
            from pipeline.request.occluder_masks import mask_files

            mask_files(named.path, named.option)
        elif not is_file(named.path):
            advice = _ADVICE.get(named.option, "check the path")
            raise UserError(f"{named.option} {shortened(named.path)}: there is no such file; {advice}")


def _check_method(settings: Settings) -> None:
    """Check the preset, the device and the renderer. Loads torch, so it comes last."""
    import torch

    device = settings.device
    if device.startswith("cuda"):
        count = torch.cuda.device_count()
        number = re.fullmatch(r"cuda(?::([0-9]{1,3}))?", device)
        if number is None or int(number[1] or 0) >= count:
            raise UserError(
                f"--device {shortened(device)}: this machine has {count} CUDA devices; use --device cpu"
            )
    _check_renderer(settings.renderer, device)
    settings = with_start(settings)
    chosen = settings.invert.of_method()
    _check_base_code(settings, chosen)
    method = find_method(settings.invert.method)
    if settings.invert.start != "none" and "codes" not in method.starts_from:
        raise UserError(
            f"--start {settings.invert.start}: {method.name} cannot begin from another inversion; "
            "leave it out"
        )
    if chosen.needs_masks and settings.invert.occluder_masks is None:
        raise UserError(
            f"--preset {chosen.name} is made for masks; give --occluder-masks DIR, or another preset"
        )


def _check_base_code(settings: Settings, chosen: Any) -> None:
    """A base code can follow an edit where there is one."""
    from inverters.fitting.spaces import find_space

    codes = getattr(chosen, "codes", None)
    if settings.edit.base_code == "follows" and (codes is None or not find_space(codes.space).base):
        where = settings.invert.method if codes is None else codes.space
        raise UserError(f"--base-code follows: codes in {where} have no base code; give --space f/z+")


def device_of(name: str) -> str:
    """The device that a job runs on: `name`, or the best there is for "auto"."""
    import torch

    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def _check_renderer(renderer: str, device: str) -> None:
    """A renderer asked for by name must be built, and be for the device."""
    from inverters.rendering import backends

    if renderer in ("auto", "reference"):
        return
    kind = device_of(device).partition(":")[0]
    if renderer != kind:
        raise UserError(f"--renderer {renderer} cannot render on {kind}; use --renderer auto")
    if isinstance(found := backends.library(renderer), str):
        raise UserError(f"--renderer {renderer}: it is {found}; use --renderer auto")


def with_codec(settings: Settings, path: Path) -> Settings:
    """The settings with a codec that suits the input.

    The format of pictures for pictures. For a film the first of these that holds its bits and its alpha:
    `h264` (8 bits), `hevc` (12 bits), `prores` (alpha, 12 bits), `ffv1`.

    Raises InputVideoError for an input that cannot be read.
    """
    if settings.encode.codec != "auto":
        return settings
    from pipeline.video.sequences import written_format

    codec = written_format(path) or _film_codec(path, settings.decode.ingest)
    return replace(settings, encode=replace(settings.encode, codec=codec))


def _film_codec(path: Path, ingest: str) -> str:
    from pipeline.video.depth import first_layout

    layout = first_layout(path, tone_mapped="tonemap" in ingest)
    if layout is None or (layout.bits == 8 and not layout.alpha):
        return "h264"
    if layout.bits > 12:
        return "ffv1"
    return "prores" if layout.alpha else "hevc"


def with_start(settings: Settings) -> Settings:
    """The settings with the encoder that the method begins at, or "none", in place of "auto"."""
    start = settings.invert.begin(settings.generator)
    return replace(settings, invert=replace(settings.invert, start=start))


def definite(settings: Settings, path: Path) -> Settings:
    """The settings with all that the input and the preset decide. Raises as `with_codec`."""
    return with_start(with_codec(settings, path))


def with_default_preset(settings: Settings) -> Settings:
    """The settings with a preset that suits the device: `draft` on a CPU, `fast` on CUDA."""
    preset = "fast" if device_of(settings.device).startswith("cuda") else "draft"
    return replace(settings, invert=replace(settings.invert, preset=preset))
