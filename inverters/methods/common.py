"""What several methods share: the base of their settings, and numbers that more than one of them uses.

The numbers of `draft` (two CPU cores, short clips) and `fast` (a small GPU, or long runs on a CPU) are our
own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from inverters.fitting.code_settings import CodeSettings
from inverters.fitting.superresolution import SuperresolutionSettings
from inverters.fitting.weights import WeightSettings


@dataclass(frozen=True, kw_only=True)
class MethodSettings:
    """Base of every method's settings: frozen dataclasses, JSON by `dataclasses.asdict`."""

    name: str
    """The preset's name, followed by what is left out of it: `draft/no-entropy`."""
    tune: SuperresolutionSettings
    """Tuning of super-resolution after the method (In-N-Out, section 4.5)."""
    render: tuple[int | None, int | None] = (None, None)
    """Coarse and fine samples a ray of final renders; None takes the generator's."""

    @property
    def needs_masks(self) -> bool:
        """Whether the settings are made for clips with occluder masks."""
        return False

    @property
    def render_info(self) -> dict[str, int | None]:
        """`render` as `Inversion.info` holds it, where `fields.synthesis.InversionRenderer` reads it."""
        return {"coarse": self.render[0], "fine": self.render[1]}


def loss_names(*names: str) -> str:
    """Join the names of perceptual losses for `Inversion.info`; "none" if there are none."""
    return ", ".join(sorted(set(names) - {"none"})) or "none"


DRAFT: dict[str, Any] = {
    "name": "draft",
    "tune": SuperresolutionSettings(
        steps=100,
        growth=0.3,
        frames_per_step=2,
        max_frames=10,
        rate=6e-3,  # measured: 18 steps at 6e-3 reach what 30 at 2e-3 reach, and are stable
        schedule="warmup_cosine",
    ),
    "render": (24, 24),
}
FAST: dict[str, Any] = {
    "name": "fast",
    "tune": replace(DRAFT["tune"], steps=240, max_frames=0, rate=3e-3),
}
PAPER: dict[str, Any] = {
    "name": "paper",
    # In-N-Out, 5.1: "for 100 epochs with a learning rate of 1e-3"
    "tune": SuperresolutionSettings(epochs=100, rate=1e-3),
}
"""The fields of MethodSettings in the preset of that name, the same for every method."""

DRAFT_CODES = CodeSettings(
    steps=300,
    begun_steps=100,
    frames_per_step=3,
    rays=240,
    expression_rays=160,
    coarse=24,
    fine=24,
    coordinates=True,
    offset_from=0.75,  # from 0.5 on, offsets also learn the colour of a mask
    sweep=1.5,
    rate=2e-3,
    coordinate_rate=0.08,
    frame_rate=0.15,
    schedule="warmup_cosine",
    robust=(2.0, 0.12),
    lambda_delta=2e-4,
    prior=2e-4,
    frame_prior=4e-4,
    smoothness=4e-4,
    pose_rate=0.3,
    passing_pose_every=6,  # a hand bends the landmarks of some frames alone
    pose_prior=1e-4,
)
FAST_CODES = replace(
    DRAFT_CODES, steps=400, begun_steps=130, rays=700, expression_rays=300, coarse=None, fine=None
)
"""Codes, robust to an occluder, with a correction of the cameras."""

# Cameras are kept: without the robust loss an occluder would move them away together with the codes.
# Real faces want what made-up people do not: a square of the face as the judge sees it, offsets that move
# early and far. With lambda_delta below 1e-4 they come nearer still, and edits of them fail.
_PLAIN: dict[str, Any] = {
    "frames_per_step": 1,
    "rays": 600,
    "patch": 64,
    "lambda_features": 0.4,
    "rate": 2e-2,
    "offset_from": 0.1,
    "lambda_delta": 1e-4,
    "robust": None,
    "pose_rate": 0.0,
}
DRAFT_PLAIN_CODES = replace(DRAFT_CODES, **_PLAIN, steps=400, begun_steps=250)
FAST_PLAIN_CODES = replace(FAST_CODES, **_PLAIN, steps=600, begun_steps=400)
"""Codes by squared error and the judge's features, with cameras as given: for methods without a second
field.
"""

DRAFT_WEIGHTS = WeightSettings(
    steps=100, growth=0.5, coarse=24, fine=24, rate=2e-3, schedule="warmup_cosine", stop=0.06
)
"""Tuning of the generator's weights about the codes."""

# oneThousand1000/EG3D-projector, eg3d/projector/w_projector.py and w_plus_projector.py. The release optimises
# noise maps beside the code and then discards them; here they are kept as they are.
PROJECTOR = CodeSettings(
    epochs=500,  # run_projector.py: 500 steps an image
    shared=False,  # the release inverts one image
    rate=0.01,  # initial_learning_rate=0.01, which replaces the rate that Adam is made with
    schedule="warmup_cosine",  # lr_rampup_length=0.05, lr_rampdown_length=0.25
    w_noise=0.05,  # initial_noise_factor=0.05, noise_ramp_length=0.75
    features_at=256,  # "if target_images.shape[2] > 256": area means
    lambda_perceptual=1.0,  # dist = (target_features - synth_features).square().sum(): LPIPS-VGG
)
"""The public projectors' codes."""

IN_N_OUT_CODES = CodeSettings(
    epochs=200,  # 5.1: "for 200 epochs"; 5.2: W and W+ as its own first stage
    rate=1e-3,  # 5.1: "with a learning rate of 1e-3"
    lambda_delta=1e-3,  # 5.1
    lambda_w=0.0,  # 5.1 gives lambda_w for the joint stage only
    lambda_perceptual=1.0,  # release: LPIPS-VGG x 1 beside the squared error, at the final size
    at_image=True,
    candidates=500,  # release, examples: 500 random z a frame; the paper does not say
)
"""The codes of In-N-Out's paper, and of the baselines in its section 5.2."""
