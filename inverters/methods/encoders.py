"""Encoders as methods: every frame by itself in one pass of a network, then fused over the clip.

The networks are those of `encoders.table`. They take no steps; `Inversion.seen` has the soft mask of networks
that tell one. TriPlaneNet's second branch then makes offsets of the planes of what each frame differs by from
the render of its codes (`encoders.plane_offsets`), GOAE's a change of features (`encoders.feature_offsets`),
E3DGE's local features at points along the rays (`encoders.local_details`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inverters.base import Inversion, InversionProblem, Method, OnStep
from inverters.encoders import feature_offsets
from inverters.encoders.e3dge_triplane import E3DGETriplane
from inverters.encoders.encoder_file import Encoder, EncoderCard, load_encoder, read_encoder_card
from inverters.encoders.file_pairs import files_of
from inverters.encoders.fusion import fused, weights_of
from inverters.encoders.goae import Cameras
from inverters.encoders.goae_network import GoaeNetwork
from inverters.encoders.local_details import carried_details
from inverters.encoders.official import OFFICIAL, load_official
from inverters.encoders.plane_offsets import LOOKS, as_bytes, carried
from inverters.encoders.triplanenet import TriPlaneNet
from inverters.errors import CheckpointError, InverterError
from inverters.fitting.superresolution import SuperresolutionSettings
from inverters.fitting.targets import Targets
from inverters.memory import batch
from inverters.methods.common import MethodSettings
from inverters.methods.table import encoder_file
from inverters.rendering.cameras import FOCAL, to_label

_BATCH, _REFINED = 16, 4
_FRAMED = 0.01
"""Relative difference of the focal length up to which a picture is taken as it is."""


@dataclass(frozen=True, kw_only=True)
class EncoderMethodSettings(MethodSettings):
    """Settings of the encoders."""

    file: str = ""
    """The encoder's file; empty: the one that is shipped for the bundled generator."""
    smoothing: float = 1.0
    """Standard deviation in frames of the smoothing of what frames differ in."""
    single: bool = False
    """One w for all layers, the mean of the rows: what a fit in W begins at."""
    fuse: bool = True
    """One person for the clip; False: every frame as it was told, as the papers do."""
    refined: bool = True
    """With the second stage, where the network has one."""
    passes: int = 0
    """Passes of TriPlaneNet's cascaded refinement (v1 alone; the paper takes one for hard pictures)."""


_NO_TUNING = SuperresolutionSettings()
PRESETS = {
    "draft": EncoderMethodSettings(name="draft", tune=_NO_TUNING, render=(24, 24)),
    "fast": EncoderMethodSettings(name="fast", tune=_NO_TUNING),
    "paper": EncoderMethodSettings(name="paper", tune=_NO_TUNING, smoothing=0.0, fuse=False),
}


def encoder_path(name: str, file: str) -> Path:
    """Return the path of the encoder `name`: `file`, or where it is empty the shipped one.

    Raises:
        CheckpointError: there is no such file, or none is shipped, or its second file is not beside it.
    """
    path = Path(file) if file else encoder_file(name)
    if path.is_file():
        for other in files_of(name, path)[1:]:
            if other == path or not other.is_file():
                raise CheckpointError(
                    f"the second stage of {name} is missing: there is no '{other.name}' beside "
                    f"'{path}'; --encoder names the first file, 'encoder_*.pt', and 'afa_*.pt' lies beside it"
                )
        return path
    if file:
        raise CheckpointError(f"there is no encoder at '{path}'")
    raise CheckpointError(
        f"no encoder {name} is shipped; name its file with --encoder, or train one with "
        f"`invid train-encoder {name}`"
    )


def check_card(name: str, file: str, generator: Any) -> None:
    """Check that an encoder in our own form is a `name` for this generator; official files have no card.

    Raises:
        CheckpointError: there is no such file, or it is of another network.
        FingerprintError: it is for another generator.
    """
    path = encoder_path(name, file)
    if path.suffix not in OFFICIAL:
        _check(name, path, read_encoder_card(path), generator)


def _check(name: str, path: Path, card: EncoderCard, generator: Any) -> None:
    if card.network != name:
        raise CheckpointError(f"'{path}' is an encoder {card.network}; expected {name}")
    card.check_generator(generator.card.name, generator.card.fingerprint)


def encoder_for(name: str, file: str, generator: Any) -> Encoder:
    """Return the encoder `name` for a generator.

    Args:
        name: of the method.
        file: an encoder in our own form (.safetensors) or an official one (.pt, .pth); empty: the shipped.
        generator: it must be the one that the encoder was trained for.

    Raises:
        CheckpointError: there is no such file, or it is damaged or of another network.
        FingerprintError: it is for another generator.
    """
    path, device = encoder_path(name, file), generator.backbone.mapping.w_avg.device
    found = load_official(name, path, generator) if path.suffix in OFFICIAL else load_encoder(path, device)
    _check(name, path, found.card, generator)
    found.network.to(device)
    return found


def framed(images: Tensor, intrinsics: Tensor, outside: str = "border") -> Tensor:
    """Bring pictures [n,3,S,S] of intrinsics [n,3,3] to EG3D's focal length, that of the training."""
    zoom = (intrinsics[:, 0, 0] / FOCAL).to(images)
    if bool(((zoom - 1).abs() < _FRAMED).all()):
        return images
    rows = torch.zeros(len(zoom), 2, 3).to(images)
    rows[:, 0, 0] = rows[:, 1, 1] = zoom
    grid = F.affine_grid(rows, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode=outside, align_corners=False)


def unframed(cover: Tensor, intrinsics: Tensor) -> Tensor:
    """Bring masks [n,1,h,w] of `framed` pictures back to the pictures' own focal length; 0 beyond them."""
    zoomed = intrinsics.clone()
    zoomed[:, 0, 0] = FOCAL * FOCAL / intrinsics[:, 0, 0]
    return framed(cover, zoomed, "zeros")


@torch.no_grad()
def invert(
    name: str,
    generator: Any,
    problem: InversionProblem,
    *,
    settings: EncoderMethodSettings,
    start: Inversion | None = None,
    steps: int | None = None,
    seed: int = 0,
    checkpoint_dir: Path | None = None,
    on_step: OnStep | None = None,
) -> Inversion:
    """Tell the codes of all frames; arguments as in `base.Method`. There is nothing to go on from."""
    encoder = encoder_for(name, settings.file, generator)
    device, count = generator.backbone.mapping.w_avg.device, len(problem.frames)
    targets = Targets(problem, generator.config.neural_rendering_resolution, device)
    codes, covers = [], []
    for rows in torch.arange(count).split(batch(_BATCH)):
        images = framed(targets.image(rows), targets.intrinsics[rows])
        seen = encoder.see(images)
        codes.append(seen.offsets + generator.backbone.mapping.w_avg)
        if seen.mask is not None:
            covers.append(unframed(seen.mask.sigmoid(), targets.intrinsics[rows])[:, 0])
    ws, cover = torch.cat(codes), torch.cat(covers) if covers else None
    if not torch.isfinite(ws).all():
        raise InverterError(
            f"the encoder {name} tells codes that are not finite numbers; its weights are bad"
        )
    if settings.single:
        ws = ws.mean(1, keepdim=True).expand_as(ws).contiguous()
    if settings.fuse:
        weights = weights_of(targets.cam2world, cover)
        ws = fused(ws, weights, problem.frames, generator.card, settings.smoothing)
    found = _second_stage(encoder.network, generator, targets, ws, settings)
    return Inversion(
        method=name,
        preset=settings.name,
        fingerprint=generator.card.fingerprint,
        frames=problem.frames,
        ws=ws,
        latent=found.latent,
        refiner=found.refiner,
        seen=found.seen | ({} if cover is None else {"cover": cover}),
        info=found.info
        | {
            "perceptual_loss": "none",
            "masks": problem.occluder_masks is not None,
            "steps": {},
            "render": settings.render_info,
        },
    )


@dataclass(frozen=True)
class _Refined:
    """What a second stage adds to an `Inversion`: entries of its fields."""

    latent: dict[str, Tensor] = field(default_factory=dict)
    refiner: dict[str, Tensor] = field(default_factory=dict)
    seen: dict[str, Tensor] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)


def _second_stage(
    network: nn.Module, generator: Any, targets: Targets, ws: Tensor, settings: EncoderMethodSettings
) -> _Refined:
    """What the network's second stage makes of codes ws [K,num_ws,w_dim]; nothing where it has none."""
    if not settings.refined:
        return _Refined()
    if isinstance(network, TriPlaneNet):
        refiner, info = carried(network)
        return _Refined({LOOKS: _looks(network, generator, targets, ws, settings)}, refiner, info=info)
    if isinstance(network, E3DGETriplane):
        cameras = to_label(targets.cam2world, targets.intrinsics)
        pictures = _pictures(network.config.branch.size, targets)
        latent, refiner, info = carried_details(network, pictures, cameras)
        return _Refined(latent, refiner, info=info)
    if isinstance(network, GoaeNetwork):
        aligned = _aligned(network, generator, targets, ws, settings)
        seen = {"cam2world": targets.cam2world, "intrinsics": targets.intrinsics}
        return _Refined({feature_offsets.ALIGNED: aligned}, seen=seen, info=feature_offsets.carried(network))
    return _Refined()


def _looks(
    network: TriPlaneNet, generator: Any, targets: Targets, ws: Tensor, settings: EncoderMethodSettings
) -> Tensor:
    """What the second branch looks at in all frames, uint8 [K,2 or 3,3,S,S]."""
    found, size = [], network.config.offsets.size
    for rows in torch.arange(len(ws)).split(batch(_REFINED)):
        cameras = targets.cam2world[rows], targets.intrinsics[rows]
        sampling, pictures = generator.sampling(*settings.render), targets.image(rows, size)
        looks = network.looks(generator, ws[rows], pictures, *cameras, settings.passes, sampling)
        found.append(as_bytes(looks))
    return torch.cat(found)


def _pictures(size: int, targets: Targets) -> Tensor:
    """All frames as the local branch looks at them, uint8 [K,3,S,S]."""
    rows = torch.arange(len(targets)).split(batch(_BATCH))
    return torch.cat([as_bytes(targets.image(some, size)) for some in rows])


def _aligned(
    network: GoaeNetwork, generator: Any, targets: Targets, ws: Tensor, settings: EncoderMethodSettings
) -> Tensor:
    """What the alignment adds to the features of all frames, float16 [K,F,b,b]."""
    goae, found = network.with_generator(generator, generator.sampling(*settings.render)), []
    for rows in torch.arange(len(ws)).split(batch(_REFINED)):
        cameras = Cameras(targets.cam2world[rows], targets.intrinsics[rows])
        found.append(feature_offsets.refined_features(goae, targets.image(rows), cameras, ws[rows]))
    return torch.cat(found)


def _method(name: str) -> Method[EncoderMethodSettings]:
    return Method(name=name, presets=PRESETS, steps=lambda settings, frames: 0, invert=partial(invert, name))


E3DGE, E4E, E4E_MASK, GOAE, GOAE_W, PSP, TRIPLANENET = (
    _method(name) for name in ("e3dge", "e4e", "e4e-mask", "goae", "goae-w+", "psp", "triplanenet")
)
