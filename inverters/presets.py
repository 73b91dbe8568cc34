"""Named hyper-parameters of the inversion methods; beside each number, where it comes from.

`paper` is In-N-Out's section 5.1; `released-masked` and `released-maskfree` are the two recipes of its public
code (Twizwei/in-n-out); `draft` suits two CPU cores and short clips, `fast` a small GPU or a patient CPU:
both are ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from inverters.errors import UnknownNameError
from inverters.ood import OODInit
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
    schedule: str = "constant"
    robust: tuple[float, float] | None = None
    """Scales from and to which the robust loss narrows, in [-1,1] colour units; None is a plain squared
    error.
    """
    at_image: bool = False
    """Compare the final image too, not only the raw one."""
    lambda_perceptual: float = 0.0
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
    """Learning rate of the cameras' correction that all frames share (see `pose`); 0 keeps the cameras."""
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
class Preset:
    """All three stages."""

    name: str
    codes: CodePreset
    joint: JointPreset
    tune: TunePreset
    render: tuple[int | None, int | None] = (None, None)
    """Coarse and fine samples of final renders."""


_PAPER = Preset(
    name="paper",
    codes=CodePreset(
        epochs=200,  # 5.1: "for 200 epochs"
        rate=1e-3,  # 5.1: "with a learning rate of 1e-3"
        lambda_delta=1e-3,  # 5.1
        lambda_w=0.0,  # 5.1 gives lambda_w for the joint stage only
        lambda_perceptual=1.0,  # release: LPIPS-VGG x 1 beside the squared error, at the final size
        at_image=True,
        candidates=500,  # release, examples: 500 random z a frame; the paper does not say
    ),
    joint=JointPreset(
        steps=10_000,  # 5.1: "for 10,000 iterations"
        rate=5e-3,  # 5.1
        rate_w=5e-3,  # 5.1 names one rate; equation 5 optimises w_t with the rest
        init=OODInit(resolution=256),  # 4.2: as EG3D's; T^O and phi "from a normal distribution"
        reduction="sum",  # equation 5: sum over ij
        lambda_perceptual=1.0,  # equation 5
        lambda_entropy=1.0,  # 5.1: lambda_b = 1
        entropy_reduction="sum",  # equation 6
        lambda_delta=1e-3,  # 5.1
        lambda_w=1.0,  # 5.1
        lambda_depth=0.1,  # 5.1: lambda_D, single images
        transmittance="sum",  # equation 4: exp(-sum(sigma_O + sigma_I) delta)
    ),
    tune=TunePreset(epochs=100, rate=1e-3),  # 5.1: "for 100 epochs with a learning rate of 1e-3"
)

_RELEASED_CODES = CodePreset(
    epochs=500,  # examples: 500
    rate=5e-3,  # examples: 5e-3
    ratio=0.7,  # --weight_residual 0.7
    schedule="warmup_cosine",  # warm-up over 5 %, cosine fall over the last 25 %
    lambda_perceptual=1.0,
    at_image=True,  # losses at 512
    lambda_delta=1e-3,
    squared=False,  # norms, not squared
    skip_last=True,  # layers 1 to 12 of 13
    candidates=500,
)

_MASKED = Preset(
    name="released-masked",
    codes=_RELEASED_CODES,
    joint=JointPreset(
        steps=10_000,
        rate=5e-3,
        rate_w=5e-5,  # lr / 100
        init=OODInit(resolution=256),
        reduction="mean",
        lambda_perceptual=1.0,  # LPIPS-VGG on the raw image
        lambda_image=1.0,  # squared error at 512 during the raw stage
        lambda_ood=1.0,  # OOD-only masked squared error
        lambda_entropy=1.0,
        entropy_reduction="mean",
        skew=2.0,  # H(b^2)
        lambda_area=1.0,  # mean of max_k(b)^2, from D2NeRF
        transmittance="product",
    ),
    tune=TunePreset(epochs=100, rate=1e-3),
)

_MASKFREE = Preset(
    name="released-maskfree",
    codes=_RELEASED_CODES,
    joint=replace(
        _MASKED.joint,
        rate_w=5e-4,  # lr_w default of the mask-free script
        lambda_ood=0.0,
        lambda_w=1.0,  # latent_reg, norm
        lambda_delta=2e-3,  # delta_reg, norm
        squared=False,
    ),
    tune=TunePreset(epochs=400, rate=1e-3),  # 400 epochs in the mask-free script
)

_DRAFT = Preset(
    name="draft",
    codes=CodePreset(
        steps=200,
        frames_per_step=3,
        rays=240,
        expression_rays=160,
        coarse=24,
        fine=24,
        coordinates=True,
        sweep=1.5,
        rate=2e-3,
        coordinate_rate=0.08,
        frame_rate=0.15,
        schedule="warmup_cosine",
        robust=(2.0, 0.25),
        lambda_delta=2e-4,
        prior=2e-4,
        frame_prior=4e-4,
        smoothness=4e-4,
        pose_rate=0.3,
        pose_prior=1e-4,
    ),
    joint=JointPreset(
        steps=600,
        growth=0.6,
        frames_per_step=3,
        rays=400,
        coarse=24,
        fine=24,
        init=OODInit(resolution=96, plane_std=0.2, phi_std=0.1, blend_bias=-2.0, density_bias=3.0),
        rate=2e-2,
        decoder_rate=1e-2,
        schedule="warmup_cosine",
        lambda_entropy=2e-3,
        entropy_reduction="mean",
        residual_prior=(0.25, 0.05),
    ),
    tune=TunePreset(
        steps=140,
        growth=0.3,
        frames_per_step=2,
        max_frames=10,
        rate=6e-3,  # 18 steps at 6e-3 came as far as 30 at 2e-3, and stayed calm
        schedule="warmup_cosine",
        coarse=24,
        fine=24,
    ),
    render=(24, 24),
)

_FAST = replace(
    _DRAFT,
    name="fast",
    codes=replace(_DRAFT.codes, steps=400, rays=700, expression_rays=300, coarse=None, fine=None),
    joint=replace(
        _DRAFT.joint,
        steps=1100,
        rays=1024,
        coarse=None,
        fine=None,
        init=replace(_DRAFT.joint.init, resolution=128),
    ),
    tune=replace(_DRAFT.tune, steps=240, max_frames=0, rate=3e-3, coarse=None, fine=None),
    render=(None, None),
)

PRESETS: dict[str, Preset] = {p.name: p for p in (_DRAFT, _FAST, _PAPER, _MASKED, _MASKFREE)}
"""Every preset by name; all methods know all of them."""


def get_preset(name: str) -> Preset:
    """The preset called `name`; raises UnknownNameError, which lists those that exist."""
    if name not in PRESETS:
        raise UnknownNameError(f"unknown preset '{name}'; known: {', '.join(PRESETS)}")
    return PRESETS[name]


def step_count(steps: int, epochs: int, growth: float, frames: int, per_step: int) -> int:
    """Steps of a stage: whole epochs where given, else `steps` grown by (frames / 30) ** growth from 30
    frames on.
    """
    if epochs:
        return epochs * -(-frames // min(per_step, frames))
    return round(steps * max(1.0, frames / 30) ** growth)
