"""Every knob, once: typed and documented. A stage reads only its own settings, so its cache key holds only
those.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.clip import Edit, View


@dataclass(frozen=True)
class DecodeSettings:
    reader: str = "av"
    """`av` (exact time stamps, default) or `decord`."""
    ingest: str = ""
    """ffmpeg filters run first, comma separated: deinterlace, tonemap, fps=25. Empty: none."""
    max_frames: int | None = None
    """Read no more than this many frames; None reads all."""


@dataclass(frozen=True)
class TrackSettings:
    detector: str = "mediapipe"
    """`mediapipe`, `fan` (face-alignment, where its weights can be had), or `3ddfa:PATH`."""
    face: int = 0
    """Which face to follow: 0 is the largest, N the N-th largest at the start."""
    max_gap: float = 0.5
    """Gaps up to this many seconds are interpolated; longer ones are `no face`."""
    smoothing: str = "box"
    """`box` (the paper's sliding window), `gaussian` or `none`."""
    smoothing_window: float = 3.0
    """Window of the box in frames, or sigma of the Gaussian in frames."""


@dataclass(frozen=True)
class CameraSettings:
    labels: str | None = None
    """A `dataset.json` of official EG3D labels used instead of estimating."""
    smoothing: float = 1.0
    """Sigma in frames of the smoothing of the camera path; 0 for none."""


@dataclass(frozen=True)
class InvertSettings:
    method: str = "in-n-out"
    """`in-n-out`, `w`, `w+`, `pti`, `pose-opt`, `hfgi3d` or `vive3d`."""
    preset: str = "draft"
    """Named hyper-parameters of the method."""
    steps: int | None = None
    """Overrides the preset's number of steps."""
    occluder_masks: str | None = None
    """Folder of masks by frame index (0 = occluder)."""
    seed: int = 0
    without: tuple[str, ...] = ()
    """Ablations of `in-n-out`: `no-entropy`, `no-latent-reg`."""

    @property
    def recipe(self) -> str:
        """The preset as inverters know it: its name, and what it is without."""
        return "/".join((self.preset, *self.without))


@dataclass(frozen=True)
class FinetuneSettings:
    enabled: bool = True
    steps: int | None = None
    """Steps of super-resolution fine-tuning; None takes the preset's."""


@dataclass(frozen=True)
class EditSettings:
    edits: tuple[Edit, ...] = ()
    remove_occluder: bool = False
    view: View | None = None
    inset: bool = False
    """Put the view back into the source's frames, the head turned where it is."""
    ease: float = 0.2
    """Seconds over which an edit with a time range comes and goes."""
    directions: tuple[str, ...] = ()
    """Files whose directions edits can name, beside the generator's own."""
    smooth: str = "none"
    """Of codes over time before they are rendered: `causal` (In-N-Out's release), `gaussian` (VIVE3D) or
    `none`."""


@dataclass(frozen=True)
class CompositeSettings:
    feather: float = 0.06
    """Width of the soft border of the face mask, in crop widths."""
    grow: float = 0.04
    """How far the mask reaches beyond the face's outline, in crop widths."""
    stitch: str | None = None
    """What moves, frame by frame, until the border of an edited face meets the frame: `weights` of the
    generator (STIT) or the frame's `codes` (VIVE3D). None: nothing."""
    steady: bool = False
    """Hold what is changed in a frame to what was changed in the one before, along the source's motion."""


@dataclass(frozen=True)
class EncodeSettings:
    codec: str = "h264"
    """`h264`, `hevc`, `prores` or `ffv1`."""
    quality: int | None = None
    """CRF for h264 and hevc; None takes the codec's default here."""
    crops: bool = False
    """Also write the crops alone."""


@dataclass(frozen=True)
class Settings:
    """A whole job."""

    generator: str = "bundled"
    device: str = "auto"
    renderer: str = "auto"
    """`auto` (compiled where it was built), `cuda`, `cpu` or `reference` (plain torch). Results are the same
    but for rounding, so no cached stage depends on it."""
    strict: bool = False
    """Refuse a file that shows signs of damage, instead of telling of them."""
    decode: DecodeSettings = field(default_factory=DecodeSettings)
    track: TrackSettings = field(default_factory=TrackSettings)
    camera: CameraSettings = field(default_factory=CameraSettings)
    invert: InvertSettings = field(default_factory=InvertSettings)
    finetune: FinetuneSettings = field(default_factory=FinetuneSettings)
    edit: EditSettings = field(default_factory=EditSettings)
    composite: CompositeSettings = field(default_factory=CompositeSettings)
    encode: EncodeSettings = field(default_factory=EncodeSettings)
