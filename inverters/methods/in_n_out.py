"""In-N-Out: the face in the generator's latent space, what occludes it in a second radiance field.

Xu et al. 2024, "In-N-Out: Faithful 3D GAN Inversion with Volumetric Decomposition for Face Editing".

First the codes of all frames (section 4.1), by a loss robust to what no face explains; then the second
tri-plane, its decoder, per-frame phi and, if the settings say so, the codes together (4.2 to 4.4).
Super-resolution (4.5) is tuned by `fitting.superresolution`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from inverters.base import I64, U8, Inversion, InversionProblem, Method, OnStep
from inverters.errors import InverterError
from inverters.fields.ood import OODInit
from inverters.fitting.checkpoints import CheckpointStore, job_of
from inverters.fitting.code_settings import CodeSettings
from inverters.fitting.fitted_codes import FittedCodes, fitted_codes, found_codes
from inverters.fitting.joint import DepthPrior, JointFit, JointSettings
from inverters.fitting.loop import Run
from inverters.fitting.schedules import split_steps
from inverters.fitting.spaces import SPACES
from inverters.fitting.targets import Targets
from inverters.generators.tuned import with_tensors
from inverters.methods.common import (
    DRAFT,
    DRAFT_CODES,
    FAST,
    FAST_CODES,
    IN_N_OUT_CODES,
    PAPER,
    MethodSettings,
    loss_names,
)


@dataclass(frozen=True, kw_only=True)
class InNOutSettings(MethodSettings):
    """Settings of `in-n-out`."""

    codes: CodeSettings
    """The codes (section 4.1)."""
    joint: JointSettings
    """The second field (sections 4.2 to 4.4)."""

    def __post_init__(self) -> None:
        """Raise InverterError where the second stage would move codes out of their space."""
        if self.joint.rate_w and self.codes.space not in ("w", "w+"):
            raise InverterError(
                f"in-n-out with preset {self.name} moves codes beside the second field, which it cannot in "
                f"{self.codes.space}, only in w and w+; take preset draft or fast"
            )

    @property
    def needs_masks(self) -> bool:
        """Whether a loss is over the masked pixels."""
        return self.joint.lambda_ood > 0


_DRAFT_JOINT = JointSettings(
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
    cover_gain=0.05,
)

_PAPER = InNOutSettings(
    **PAPER,
    codes=IN_N_OUT_CODES,
    joint=JointSettings(
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
)

# Twizwei/in-n-out, its two training scripts
_RELEASED_CODES = CodeSettings(
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

_MASKED_JOINT = JointSettings(
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
)

PRESETS = {
    "draft": InNOutSettings(**DRAFT, codes=DRAFT_CODES, joint=_DRAFT_JOINT),
    "fast": InNOutSettings(
        **FAST,
        codes=FAST_CODES,
        joint=replace(
            _DRAFT_JOINT,
            steps=1100,
            rays=1024,
            coarse=None,
            fine=None,
            init=replace(_DRAFT_JOINT.init, resolution=128),
        ),
    ),
    "paper": _PAPER,
    "released-masked": InNOutSettings(
        **PAPER | {"name": "released-masked"}, codes=_RELEASED_CODES, joint=_MASKED_JOINT
    ),
    "released-maskfree": InNOutSettings(
        name="released-maskfree",
        tune=replace(_PAPER.tune, epochs=400),  # 400 epochs in the mask-free script
        codes=_RELEASED_CODES,
        joint=replace(
            _MASKED_JOINT,
            rate_w=5e-4,  # lr_w default of the mask-free script
            lambda_ood=0.0,
            lambda_w=1.0,  # latent_reg, norm
            lambda_delta=2e-3,  # delta_reg, norm
            squared=False,
        ),
    ),
}


def _no_entropy(settings: InNOutSettings) -> InNOutSettings:
    """Leave out equation 6, and what bounds the blend beside it or in its place (area, price)."""
    joint = replace(settings.joint, lambda_entropy=0.0, lambda_area=0.0, residual_prior=None, cover_gain=0.0)
    return replace(settings, joint=joint)


def _no_latent_reg(settings: InNOutSettings) -> InNOutSettings:
    """Leave out equation 1 and L_delta, and in coordinates the priors."""
    codes = replace(settings.codes, lambda_delta=0.0, lambda_w=0.0, prior=0.0, frame_prior=0.0)
    return replace(settings, codes=codes, joint=replace(settings.joint, lambda_delta=0.0, lambda_w=0.0))


ABLATIONS = {"no-entropy": _no_entropy, "no-latent-reg": _no_latent_reg}
"""Of section 5.5 and table 3."""


def step_count(settings: InNOutSettings, frames: int) -> int:
    """Return the number of steps of both stages for a clip of so many frames."""
    return settings.codes.steps_for(frames) + settings.joint.steps_for(frames)


def invert(
    generator: Any,
    problem: InversionProblem,
    *,
    settings: InNOutSettings,
    start: Inversion | None = None,
    steps: int | None = None,
    seed: int = 0,
    checkpoint_dir: Path | None = None,
    on_step: OnStep | None = None,
    depth_prior: DepthPrior | None = None,
) -> Inversion:
    """Fit the codes, then the second field with them; arguments as in `base.Method`.

    A `start` without a second field gives the codes at which the first stage begins; where it has a soft mask
    of what is not the face, the codes are fitted to the rest, and the mask is the prior of the blend. One
    with a second field takes the place of the first stage, and the second stage begins at its field.

    `depth_prior` is the relative depth of a single image (equation 7); without one the term is left out.

    Raises:
        InverterError: the second field of `start` was fitted with another form of transmittance.
    """
    generator.requires_grad_(False)
    size, device = generator.config.neural_rendering_resolution, problem.cam2world.device
    first, second = _counts(settings, len(problem.frames), steps, start)
    job = job_of("in-n-out", generator, problem, settings, seed, start) | {"steps": [first, second]}
    run = Run(CheckpointStore(checkpoint_dir, job), on_step, first + second)
    weights = {} if start is None else start.generator
    tuned = with_tensors(generator, weights)
    found = _codes(run, tuned, problem, settings, first, seed, start)
    targets = Targets(problem.seen_by(found.cameras), size, device)
    begin = _field_of(start, settings)
    cover = None if start is None else start.seen.get("cover")
    joint = JointFit(
        tuned, targets, found.ws, settings.joint, second, seed, depth_prior, begin, found.layer_codes, cover
    )
    run.run(joint)
    return Inversion(
        method="in-n-out",
        preset=settings.name,
        fingerprint=generator.card.fingerprint,
        frames=problem.frames,
        ws=joint.codes.values.clone(),
        latent=found.latent,
        cameras=found.cameras,
        ood=joint.result(),
        seen={} if cover is None or problem.occluder_masks is not None else {"cover": cover},
        generator=weights,
        history=run.history,
        info=found.info
        | {
            "perceptual_loss": loss_names(found.perceptual, joint.perceptual_name),
            "masks": problem.occluder_masks is not None,
            "transmittance": settings.joint.transmittance,
            "steps": {"codes": first, "joint": second},
            "render": settings.render_info,
        },
    )


def _counts(
    settings: InNOutSettings, frames: int, steps: int | None, start: Inversion | None
) -> tuple[int, int]:
    """Steps of the codes and of the joint stage; `steps` is their sum, split as the settings split it."""
    first, second = settings.codes.steps_for(frames), settings.joint.steps_for(frames)
    if start is not None and start.ood:
        return 0, steps or second
    return split_steps(first, second, steps)


def _codes(
    run: Run,
    generator: Any,
    problem: InversionProblem,
    settings: InNOutSettings,
    steps: int,
    seed: int,
    start: Inversion | None,
) -> FittedCodes:
    """Codes and refined cameras of the first stage."""
    device = problem.cam2world.device
    if start is not None and start.ood:
        return found_codes(start, device)
    cameras = {} if start is None else start.cameras
    seen = _masked(problem, start).seen_by(cameras)
    targets = Targets(seen, generator.config.neural_rendering_resolution, device)
    found = fitted_codes(run, generator, targets, settings.codes, steps, seed, start)
    return replace(found, cameras=cameras | found.cameras)


_MARGIN = 5
"""Side, in pixels of a soft mask, of the square over which its maximum is taken: the rim of sunglasses that a
mask leaves out makes the codes wear glasses.
"""


@dataclass(frozen=True)
class _Uncovered:
    """Soft masks [K,h,h], grown by a margin, as masks of a problem: uint8, 0 = covered."""

    cover: Tensor

    def __len__(self) -> int:
        return len(self.cover)

    def __getitem__(self, rows: I64) -> U8:
        """Masks of these rows."""
        cover = self.cover[torch.as_tensor(rows)][:, None].clamp(0, 1)
        kept = 1 - F.max_pool2d(cover, _MARGIN, 1, _MARGIN // 2)[:, 0]
        return (kept * 255).round().byte().cpu().numpy()


def _masked(problem: InversionProblem, start: Inversion | None) -> InversionProblem:
    """The problem with the soft masks of `start`, unless it has masks of its own."""
    if start is None or "cover" not in start.seen or problem.occluder_masks is not None:
        return problem
    return replace(problem, occluder_masks=_Uncovered(start.seen["cover"]))


def _field_of(start: Inversion | None, settings: InNOutSettings) -> dict[str, Tensor] | None:
    """The second field that the joint stage begins at; None: a new one."""
    if start is None or not start.ood:
        return None
    form = start.info.get("transmittance", "product")
    if form != settings.joint.transmittance:
        raise InverterError(
            f"in-n-out with preset {settings.name} cannot begin from this inversion: its second field was "
            f"fitted with transmittance '{form}', the preset's is '{settings.joint.transmittance}'"
        )
    return start.ood


METHOD = Method(
    name="in-n-out",
    presets=PRESETS,
    steps=step_count,
    invert=invert,
    ablations=ABLATIONS,
    spaces=frozenset(SPACES),
    starts_from=frozenset({"codes", "cameras", "second field", "weights"}),
)
