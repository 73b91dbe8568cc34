"""What a preset says: one dataclass a stage, and which stages make a method. The numbers are in `presets`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from inverters.fields.ood import OODInit
from inverters.fields.pseudo_views import PseudoViewPreset
from inverters.fitting.weights import PivotalPreset
from inverters.rendering.marching import Transmittance


@dataclass(frozen=True)
class CodePreset:
    """The in-distribution codes (section 4.1): w_t = shared code + ratio x residual_t."""

    steps: int = 0
    """Steps for a clip of 30 frames; longer clips take more, see `growth`. Unused where `epochs` is set."""
    epochs: int = 0
    """Visits of every frame."""
    growth: float = 0.7
    """Steps grow with (frames / 30) to this power."""
    frames_per_step: int = 1
    space: Literal["w", "w+"] = "w+"
    """A code for each layer (W+), or one for all (W). `w` and `w+` choose it themselves."""
    rays: int = 0
    """Rays a frame and step; 0 takes whole raw frames."""
    expression_rays: int = 0
    """More rays about brows, eyes and mouth: a blink is a few pixels of a raw frame."""
    coarse: int | None = None
    fine: int | None = None
    """Samples a ray; None takes the generator's."""
    coordinates: bool = False
    """Optimise in the latent space's own coordinates (see `latents`), then in W+; else in W+ from the
    start.
    """
    candidates: int = 0
    """Random faces tried as a beginning; 0 begins at the mean."""
    sweep: float = 0.0
    """Step by which each shared coordinate is tried up and down once, before frames may differ; 0 tries
    none, and so does a run of fewer steps than trials.
    """
    rate: float = 1e-3
    """Learning rate of the shared W+ code and its residuals."""
    coordinate_rate: float = 0.05
    frame_rate: float = 0.1
    """Learning rates of the shared and of the per-frame coordinates."""
    ratio: float = 1.0
    shared: bool = True
    """Frames share a code beside their residuals; False: nothing is shared. Without effect in coordinates."""
    schedule: str = "constant"
    w_noise: float = 0.0
    """Noise on the codes at first, in units of w's deviation (all numbers together); falls as
    `schedules.noise_ramp`.
    """
    robust: tuple[float, float] | None = None
    """Scales from and to which the robust loss narrows, in [-1,1] colour units; None is a plain squared
    error.
    """
    at_image: bool = False
    """Compare the final image too, not only the raw one."""
    features_at: int = 0
    """Compare nothing but LPIPS of the final image, at most this wide, as the projectors do; 0: colours as
    well.
    """
    lambda_absolute: float = 0.0
    """Weight of the colours' mean absolute error, in place of the squared one; 0 keeps the squared one."""
    lambda_perceptual: float = 0.0
    net: str = "vgg"
    """LPIPS's network."""
    lambda_face: float = 0.0
    """Weight of colours and LPIPS of the final image about brows, eyes, nose and mouth, where whole frames
    are seen and the generator's card has landmarks.
    """
    residual_std: float = 0.0
    """Deviation of the residuals at first."""
    lambda_residual: tuple[float, float] | None = None
    """Weights of the residuals' norm from which and to which it falls, by 1 % a step after the hundredth."""
    lambda_delta: float = 0.0
    lambda_w: float = 0.0
    squared: bool = True
    """Squared norms in L_delta and L_w (paper) or plain ones (release)."""
    skip_last: bool = False
    prior: float = 0.0
    """Weight of the squared shared coordinates."""
    frame_prior: float = 0.0
    """Weight of the squared per-frame coordinates."""
    pose_rate: float = 0.0
    """Learning rate of the cameras' correction (see `pose`); 0 keeps the cameras."""
    pose_frames: bool = False
    """A correction for each frame, not one for the clip."""
    pose_turns: int = 0
    """So many steps move the cameras alone, as many the codes, and so on; 0: cameras join the codes when
    frames may differ.
    """
    pose_level: bool = False
    """Cameras are corrected in yaw and pitch alone."""
    pose_prior: float = 0.0
    """Weight of the squared correction, in its own units."""
    smoothness: float = 0.0
    """Weight of a frame's distance from the mean of its neighbours in coordinates."""


@dataclass(frozen=True)
class JointPreset:
    """The out-of-distribution field and the joint optimisation (sections 4.2 to 4.4)."""

    steps: int
    growth: float = 0.0
    frames_per_step: int = 1
    rays: int = 0
    """Random rays a frame and step; 0 takes whole raw frames."""
    patch: int = 0
    """Side in raw pixels of a square of one frame that joins each step, for the losses on the final image."""
    coarse: int | None = None
    fine: int | None = None
    init: OODInit = field(default_factory=OODInit)
    rate: float = 5e-3
    """Learning rate of planes, decoder and phi."""
    decoder_rate: float | None = None
    rate_w: float = 0.0
    """Learning rate of the codes; 0 keeps them, and then their planes are made once."""
    schedule: str = "constant"
    reduction: Literal["sum", "mean"] = "mean"
    """Of the squared colour error over the rays of a frame."""
    lambda_perceptual: float = 0.0
    lambda_image: float = 0.0
    """Squared error of the final image (whole frames or the patch), super-resolution frozen."""
    lambda_ood: float = 0.0
    """Squared error of the OOD field alone inside the occluder's mask, where masks are given."""
    lambda_entropy: float = 0.0
    entropy_reduction: str = "sum"
    skew: float = 1.0
    lambda_area: float = 0.0
    residual_prior: tuple[float, float] | None = None
    """(scale, price): the field's share of a pixel costs `price` where the codes' own error is far below
    `scale`, nothing where it is far above.
    """
    lambda_delta: float = 0.0
    lambda_w: float = 0.0
    squared: bool = True
    lambda_depth: float = 0.0
    """Weight of the depth term for a single image."""
    transmittance: Transmittance = "product"


@dataclass(frozen=True)
class TunePreset:
    """The super-resolution module (section 4.5, equation 9)."""

    steps: int = 0
    epochs: int = 0
    growth: float = 0.0
    frames_per_step: int = 1
    max_frames: int = 0
    """Fit to this many evenly spaced frames; 0 takes all."""
    rate: float = 1e-3
    schedule: str = "constant"
    lambda_perceptual: float = 1.0
    coarse: int | None = None
    fine: int | None = None


@dataclass(frozen=True)
class PivotPreset:
    """Codes, then the generator's weights about them."""

    codes: CodePreset
    tuning: PivotalPreset


@dataclass(frozen=True)
class MultiViewPreset:
    """Codes, weights about them, pseudo views by these weights, and weights that fit those as well."""

    codes: CodePreset
    tuning: PivotalPreset
    views: PseudoViewPreset
    joint: PivotalPreset
    """The tuning to frames and views."""
    restart: bool = False
    """It begins with the generator's own weights again, not with those of the first tuning."""


@dataclass(frozen=True)
class SequencePreset:
    """Codes of one frame after the other, each from those of the frame before."""

    first: int
    """Steps of the first frame."""
    later: int
    """Steps of each later frame."""
    codes: CodePreset
    """Rays, rates and weights; its steps and its frames a step are not read."""
    lambda_offset: float = 0.0
    """Weight of the norm of a frame's distance from the person's code."""
    lambda_previous: float = 0.0
    """Weight of the norm of its distance from the frame before."""
    stop: float = 0.0
    """A frame is done when its losses sum to no more than this; 0, or another loss in LPIPS's place, does all
    steps.
    """


@dataclass(frozen=True)
class PersonPreset:
    """A person's code and generator from a few frames, then all frames in turn."""

    frames: int
    """How many frames the person is learnt from."""
    codes: CodePreset
    tuning: PivotalPreset
    sequence: SequencePreset


@dataclass(frozen=True)
class Preset:
    """Stages of all methods."""

    name: str
    codes: CodePreset
    """First stage of `in-n-out`."""
    joint: JointPreset
    """Second stage of `in-n-out`."""
    tune: TunePreset
    """Super-resolution, after any method."""
    pti: PivotPreset
    pose_opt: PivotPreset
    hfgi3d: MultiViewPreset
    vive3d: PersonPreset
    project: CodePreset | None = None
    """`w` and `w+`; None takes `codes`, by plain squared error and with cameras at rest."""
    render: tuple[int | None, int | None] = (None, None)
    """Coarse and fine samples of final renders."""

    @property
    def projection(self) -> CodePreset:
        """Codes where nothing else is fitted; the method chooses the space."""
        # Without the robust loss an occluder would pull the cameras off with the codes.
        return self.project or replace(self.codes, robust=None, pose_rate=0.0)
