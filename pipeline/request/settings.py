"""Settings of a job, each once: a field with a type, a default and a docstring.

Each group is read by one stage, so that the stage's cache key holds the settings it depends on and no others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from inverters.methods.table import BEGIN, BEGUN, ENCODERS, method_names
from pipeline.errors import UserError, shortened
from pipeline.request.edits import Edit, View, format_edit, format_view, parse_edit, parse_view
from pipeline.request.faces import Face, format_face, parse_face
from pipeline.request.fields import MOST_SEED, Option, UserPath
from pipeline.video.rates import parse_rate

DEPLOYMENT = "process-video/default"
"""Prefect deployment of a bare `--submit`."""
CODECS = ("auto", "h264", "hevc", "prores", "ffv1", "vp9", "png", "tiff", "jpeg", "webp", "avif")
LAYERS = ("png", "prores", "ffv1")
"""Codecs of layers."""
HEADINGS = _WHAT, _HOW, _FILES, _CALL = "what to do", "how", "reading and writing", "this call"
"""Of the help text, in their order."""


def _layer_codec(text: str) -> str:
    """A codec that holds alpha and more than 8 bits. Raises UserError."""
    if text not in LAYERS:
        raise UserError(
            f"--layers {shortened(text)}: cannot hold alpha with more than 8 bits; give {', '.join(LAYERS)}"
        )
    return text


def _cache_place(text: str) -> str | Path:
    """A URL stays text."""
    return text if "://" in text else Path(text)


def _frame_rate(text: str) -> str:
    """A frame rate in the form that enters cache keys. Raises UserError."""
    return str(parse_rate(text, "--frame-rate"))


@dataclass(frozen=True)
class DecodeSettings:
    """How the clip is read."""

    reader: Annotated[str, Option(choices=("av", "decord"), kind="reader")] = "av"
    """Library that decodes; `av` has exact time stamps."""
    ingest: Annotated[str, Option(metavar="FILTERS")] = ""
    """ffmpeg filters to run first, separated by commas: deinterlace, tonemap, fps=25."""
    max_frames: Annotated[int | None, Option(metavar="N", least=1, most=10**9)] = None
    """Read no more than N frames."""
    frame_rate: Annotated[str | None, Option(metavar="RATE", read=_frame_rate, default="25")] = None
    """Frames a second of a picture sequence or a raw stream, such as 24 or 30000/1001; others have times."""


@dataclass(frozen=True)
class TrackSettings:
    """How the face is found and followed."""

    detector: Annotated[
        str, Option(metavar="mediapipe|fan|3ddfa:PATH", path=UserPath(prefix="3ddfa:"), kind="detector")
    ] = "mediapipe"
    """Landmark model: `mediapipe`, `fan` (face-alignment, needs its weights), or 3DDFA_V2's file."""
    face: Annotated[
        tuple[Face, ...], Option(metavar="N[:NAME=VALUE,...]", read=parse_face, write=format_face)
    ] = ()
    """Which face to follow, 0 without the option: 0 is the largest at the start, 1 the next; those that come
    later have the numbers after. May be given several times, with edits of that face alone."""
    face_network: Annotated[str | None, Option(metavar="FILE", path=UserPath())] = None
    """Face recognition network that tells people apart, as score --identity takes; else the bundled one."""
    max_gap: Annotated[float, Option(metavar="SECONDS", least=0, most=10**6)] = 0.5
    """Longest gap in the track that is interpolated; a longer one has no face."""
    smoothing: Annotated[str, Option(choices=("box", "gaussian", "none"), kind="smoothing")] = "gaussian"
    """Filter of landmarks over time, for small movements; it leaves fast ones, and never crosses a cut."""
    smoothing_window: Annotated[float, Option(metavar="SECONDS", least=0, most=10)] = 0.25
    """Width of that box; the Gaussian has the variance of one so wide."""


@dataclass(frozen=True)
class CameraSettings:
    """How each frame's camera is found."""

    labels: Annotated[str | None, Option("cameras", "dataset.json", path=UserPath())] = None
    """Official EG3D camera labels, instead of estimated cameras."""
    smoothing: Annotated[float, Option("camera-smoothing", "SECONDS", least=0, most=10)] = 0.14
    """Width in seconds of the Gaussian filter of the camera path, as of the landmarks'; 0 for none."""


@dataclass(frozen=True)
class InvertSettings:
    """How the clip is inverted."""

    method: Annotated[str, Option("inverter", choices=method_names, kind="inversion method")] = "in-n-out"
    """Inversion method."""
    preset: Annotated[str, Option(metavar="NAME", default="draft; fast on CUDA")] = "draft"
    """The method's numbers: draft, fast, paper, ..."""
    space: Annotated[str | None, Option(metavar="NAME", default="the preset's")] = None
    """Latent space of the codes: z, z+, w, w+, p_n+, s, or one with a base code: f/z+, f16/z+, ..."""
    base_skip: Annotated[
        str | None, Option(choices=("kept", "dropped"), kind="skip", default="the preset's")
    ] = None
    """The planes that the layers below a base code made: kept (GOAE) or dropped (the code of Z+)."""
    base_encoder: Annotated[str | None, Option(metavar="FILE", path=UserPath())] = None
    """Encoder that tells the base codes at first, instead of the first codes."""
    start: Annotated[str, Option(choices=("auto", "none", *ENCODERS), kind="encoder to start from")] = "auto"
    """Encoder whose inversion the method begins at; auto: the one that is shipped for the bundled generator,
    in draft and fast."""
    encoder: Annotated[str | None, Option(metavar="FILE", path=UserPath(), default="the shipped one")] = None
    """The encoder's file, where the inverter or --start is one: our .safetensors, or an official .pt."""
    steps: Annotated[int | None, Option(metavar="N", least=1, most=10**6)] = None
    """Steps of the inversion, instead of the preset's."""
    occluder_masks: Annotated[str | None, Option(metavar="DIR", path=UserPath(folder=True))] = None
    """Folder of one mask image a frame, 0 = occluder."""
    seed: Annotated[int, Option(metavar="N", least=0, most=MOST_SEED)] = 0
    """Seed of all random numbers."""
    no_entropy: bool = False
    """Ablation of in-n-out: without the terms that make the blend decide."""
    no_latent_reg: bool = False
    """Ablation of in-n-out: without the regularisers of the codes."""

    @property
    def without(self) -> tuple[str, ...]:
        """Ablations asked for, by name."""
        asked = {"no-entropy": self.no_entropy, "no-latent-reg": self.no_latent_reg}
        return tuple(name for name, on in asked.items() if on)

    def begin(self, generator: str) -> str:
        """Name of the encoder that the method begins at with this generator, or "none"."""
        if self.start != "auto":
            return self.start
        suits = self.method in BEGUN and generator == "bundled"
        return BEGIN.get(self.preset, "none") if suits else "none"

    def of_method(self) -> Any:
        """The method's own settings: the preset's numbers, in the space asked for.

        Raises UnknownNameError and InverterError as `inverters.methods.table.settings_of`.
        """
        from inverters.methods.table import find_method, settings_of

        asked = {"skip": self.base_skip, "base_encoder": self.base_encoder}
        base = {name: value for name, value in asked.items() if value is not None}
        begins = self.start not in ("auto", "none")
        return settings_of(find_method(self.method), self.preset, self.without, self.space, base, begins)

    @property
    def recipe(self) -> str:
        """Name of the preset followed by those of its ablations, as inverters take it: `draft/no-entropy`."""
        return "/".join((self.preset, *self.without))


@dataclass(frozen=True)
class FinetuneSettings:
    """The last fine-tuning, of super-resolution."""

    steps: Annotated[int | None, Option("finetune-steps", "N", least=0, most=10**6)] = None
    """Steps of super-resolution fine-tuning, instead of the preset's; 0 leaves it out."""

    @property
    def enabled(self) -> bool:
        """Whether there is any fine-tuning."""
        return self.steps != 0


@dataclass(frozen=True)
class EditSettings:
    """What is rendered."""

    edits: Annotated[
        tuple[Edit, ...], Option("edit", "NAME=VALUE[@A-Bs]", read=parse_edit, write=format_edit)
    ] = ()
    """Edit, over all of the clip or from second A to B; may be given several times."""
    remove_occluder: bool = False
    """Take off what covers the face."""
    view: Annotated[
        View | None, Option(metavar="yaw=Y,pitch=P|orbit", read=parse_view, write=format_view)
    ] = None
    """Also show the face from another side; angles in radians."""
    inset: bool = False
    """Put that view back into the source's frames, the head turned where it is."""
    ease: Annotated[float, Option(metavar="SECONDS", least=0, most=10**6)] = 0.2
    """Time over which an edit with a time range fades in and out."""
    directions: Annotated[tuple[str, ...], Option(metavar="FILE", path=UserPath())] = ()
    """File of directions that edits can name, beside the generator's own; may be given several times."""
    smooth: Annotated[str, Option(choices=("none", "causal", "gaussian"), kind="smoothing of codes")] = "none"
    """Filter of the codes over time, before rendering: `causal` is In-N-Out's release, `gaussian` VIVE3D."""
    base_code: Annotated[str, Option(choices=("stays", "follows"), kind="way of a base code")] = "stays"
    """Base code of an edited frame: stays (Z+), or follows by the difference of features (GOAE)."""


@dataclass(frozen=True)
class CompositeSettings:
    """How crops go back into the frames."""

    feather: Annotated[float, Option(metavar="WIDTHS", least=0, most=1)] = 0.06
    """Width of the soft border of the face mask, in crop widths."""
    grow: Annotated[float, Option(metavar="WIDTHS", least=-1, most=1)] = 0.04
    """How far the mask reaches beyond the face's outline, in crop widths."""
    stitch: Annotated[
        str | None, Option(choices=("weights", "codes"), kind="way to stitch", bare="weights")
    ] = None
    """Optimise each edited frame until its border meets the source (slow): the generator's weights (STIT) or
    the frame's codes (VIVE3D); without a value, weights."""
    steady: bool = False
    """Temporal stabilisation: average each frame's changes with those of the frame before, warped by optical
    flow."""
    face_masks: Annotated[str | None, Option(metavar="DIR", path=UserPath(folder=True))] = None
    """Folder of one mask image a frame, white = the edit, instead of masks made from the face; such as those
    that --layers writes."""


@dataclass(frozen=True)
class EncodeSettings:
    """How results are written."""

    codec: Annotated[str, Option(choices=CODECS, kind="codec")] = "auto"
    """Codec of the results; auto is h264, and for pictures their own format."""
    quality: Annotated[int | None, Option(metavar="N", least=0, most=100, default="16, 18, 14 and 95")] = None
    """CRF of h264, hevc and vp9, 0 is lossless; quality of jpeg, webp and avif, 100 is best."""
    crops: bool = False
    """Also write the face crops alone."""
    layers: Annotated[
        str | None,
        Option(choices=LAYERS, kind="codec of layers", bare="png", read=_layer_codec),
    ] = None
    """Also write each change as a layer with straight alpha, its mask, and the occluder's matte; without a
    value, as PNG of 16 bits."""
    keep_location: bool = False
    """Keep the tags that say where the video was recorded; they are left out otherwise."""


@dataclass(frozen=True)
class Settings:
    """All settings that decide what a job computes."""

    generator: Annotated[
        str, Option(metavar="bundled|PATH", path=UserPath(words=("bundled",)), group=_HOW)
    ] = "bundled"
    """The bundled generator, an EG3D .pkl or a .safetensors."""
    device: Annotated[str, Option(metavar="auto|cpu|cuda[:N]", group=_HOW)] = "auto"
    """Device that computes; auto takes CUDA where there is a GPU."""
    renderer: Annotated[
        str, Option(choices=("auto", "cuda", "cpu", "reference"), kind="renderer", group=_HOW)
    ] = "auto"
    """Renderer: auto takes the compiled one where it was built; reference is plain torch. Results are the
    same up to rounding, so no cached stage depends on it."""
    precision: Annotated[
        str, Option(choices=("auto", "float32", "bfloat16"), kind="precision", group=_HOW)
    ] = "auto"
    """Precision of the generator's convolutions: auto measures once which is faster on this machine, and
    keeps that in the cache."""
    strict: Annotated[bool, Option(group=_FILES)] = False
    """Refuse a file that shows signs of damage, instead of telling of them."""
    decode: Annotated[DecodeSettings, Option(group=_FILES)] = field(default_factory=DecodeSettings)
    track: Annotated[TrackSettings, Option(group=_HOW)] = field(default_factory=TrackSettings)
    camera: Annotated[CameraSettings, Option(group=_HOW)] = field(default_factory=CameraSettings)
    invert: Annotated[InvertSettings, Option(group=_HOW)] = field(default_factory=InvertSettings)
    finetune: Annotated[FinetuneSettings, Option(group=_HOW)] = field(default_factory=FinetuneSettings)
    edit: Annotated[EditSettings, Option(group=_WHAT)] = field(default_factory=EditSettings)
    composite: Annotated[CompositeSettings, Option(group=_WHAT)] = field(default_factory=CompositeSettings)
    encode: Annotated[EncodeSettings, Option(group=_FILES)] = field(default_factory=EncodeSettings)


@dataclass(frozen=True)
class Request:
    """One call of `process-video`: a clip, its settings, and how the call itself behaves.

    video: the clip. preset_chosen: the preset was asked for, and is not left to the device.
    """

    video: Path
    out: Annotated[
        Path, Option(metavar="DIR", path=UserPath(folder=True), default="out/NAME", group=_CALL)
    ] = None  # type: ignore[assignment]  # becomes out/NAME
    """Folder for the results."""
    cache: Annotated[
        str | Path | None,
        Option(
            metavar="DIR|URL",
            path=UserPath(folder=True, url=True),
            default="~/.cache/invid",
            group=_CALL,
            read=_cache_place,
            write=str,
        ),
    ] = None
    """Cache of finished stages: a folder, or s3://..."""
    settings: Settings = field(default_factory=Settings)
    preset_chosen: bool = False
    threads: Annotated[
        int | None, Option(metavar="N", least=1, most=1024, default="OMP_NUM_THREADS, else all", group=_CALL)
    ] = None
    """Cores that the job may use. Results depend on it: by rounding in a render, by more after a fit."""
    json: Annotated[bool, Option(group=_CALL)] = False
    """Print the manifest; progress goes to standard error."""
    quiet: Annotated[bool, Option(group=_CALL)] = False
    """Show no progress."""
    submit: Annotated[str | None, Option(metavar="DEPLOYMENT", bare=DEPLOYMENT, group=_CALL)] = None
    """Let a worker of a Prefect deployment do it; without a value, process-video/default."""
    debug: Annotated[bool, Option(group=_CALL)] = False
    """Write the traceback of an unexpected error to a file."""

    def __post_init__(self) -> None:
        if self.out is None:
            object.__setattr__(self, "out", Path("out") / self.video.stem)
