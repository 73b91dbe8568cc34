"""Training of the base-code encoder from a generator's own samples alone.

Katsumata et al. 2024, section 3.3, equation 2: a picture x of a random code is told its base code E(x), from
which, with the code's own upper layers, the generator must give the picture back.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from inverters.encoders.base_code import (
    BaseCodeCard,
    BaseCodeEncoder,
    as_input,
    read_base_code_encoder,
    save_base_code_encoder,
)
from inverters.errors import CheckpointError, InverterError
from inverters.fitting.latents import random_z
from inverters.fitting.losses import perceptual_loss
from inverters.fitting.spaces import LayerCodes, Skip, find_space
from inverters.memory import keep_freed_memory
from inverters.rendering.cameras import intrinsics, look_at
from inverters.training.encoder_settings import EncoderSettings
from inverters.training.encoder_start import pick_dtype
from inverters.training.generator_samples import GeneratorSamples, make_samples
from inverters.training.machine import be_interruptible, pick_device
from inverters.training.reading import step_rng
from inverters.training.stored_set import zoomed_intrinsics
from inverters.training.training_state import load_state, optimiser_tensors, restore_optimiser, save_state

OnStep = Callable[[int, dict[str, float]], None]
"""Called after each step as on_step(steps done, {loss name: value})."""


_BOUNDS = {
    "steps": (1, 10**9),
    "batch": (2, 10**4),
    "learning_rate": (1e-9, 1),
    "drop_every": (1, 10**9),
    "minutes": (0, float("inf")),
    "pictures": (0, 10**6),
    "side": (0, 1024),
    "seed": (0, 2**32 - 1),
}
"""The least and the most that each number may be."""


@dataclass(frozen=True)
class BaseCodeSettings:
    """Settings of a run; its numbers are those of the code of Z+ (Kang et al. 2021's, BDInvert)."""

    steps: int = 10_000
    """Steps of the whole run."""
    batch: int = 16
    """Pictures in a step."""
    learning_rate: float = 1e-3
    """Of Adam."""
    drop_every: int = 2000
    """Steps after which the learning rate falls to a tenth."""
    lambda_image: float = 1.0
    """Weight of the mean squared error."""
    lambda_perceptual: float = 10.0
    """Weight of LPIPS (lambda_enc), or of the loss that stands for it (`losses.perceptual_loss`)."""
    net: str = "vgg"
    """Network of LPIPS."""
    block: int = 0
    """Resolution of the layer; 0: that of spaces with f/ (`spaces.Space.block_of`)."""
    skip: Skip = "kept"
    """What becomes of the planes below the base code, as in the fit; dropped in their code."""
    widths: tuple[int, ...] = ()
    """Of the network's groups; () takes a quarter, a half and all of the layer's channels."""
    yaw: float = 0.3
    """Standard deviation of the cameras' yaw in radians (IDE-3D's samples)."""
    pitch: float = 0.155
    """Likewise of their pitch."""
    samples: tuple[int | None, int | None] = (None, None)
    """Coarse and fine samples of a ray; None takes the generator's."""
    upper: Literal["own", "mean"] = "own"
    """Codes of the layers above the base code: the picture's own, or the mean code."""
    pictures: int = 0
    """Pictures to draw once, two of each code, which the steps take theirs from; 0: new ones every step."""
    side: int = 0
    """Side of the raw pictures that are compared, without super-resolution; 0: the final pictures."""
    precision: str = "float32"
    """Of the encoder: float32, bfloat16, or auto, bfloat16 where the processor has it."""
    save_every: float = 300.0
    """Seconds between two states on disk: the most work that a killed run loses."""
    minutes: float = float("inf")
    """Wall time of a call; a later call in the same folder goes on."""
    seed: int = 0
    """Seed of all draws."""
    device: str = "auto"
    """auto, cpu or cuda."""

    def __post_init__(self) -> None:
        """Raise InverterError for a number out of bounds."""
        for name, (least, most) in _BOUNDS.items():
            if not least <= getattr(self, name) <= most:
                raise InverterError(f"{name} goes from {least:g} to {most:g}, not {getattr(self, name):g}")


PRESETS = {
    "own": BaseCodeSettings(
        steps=240,
        batch=4,
        drop_every=180,
        lambda_perceptual=0.2,
        samples=(24, 24),
        upper="mean",
        pictures=600,
        side=64,
        precision="auto",
    ),
    "paper": BaseCodeSettings(),
}
"""Settings by name: of the encoder that is shipped, trained on one thread, and as published."""


def settings_for(call: EncoderSettings) -> BaseCodeSettings:
    """Return the preset's settings with what a call of `invid train-encoder` says beside them."""
    preset = PRESETS[call.preset]
    return replace(
        preset,
        minutes=call.minutes,
        batch=call.batch or preset.batch,
        learning_rate=call.learning_rate,
        pictures=call.samples if preset.pictures else 0,
        save_every=call.save_every,
        seed=call.seed,
        device=call.device,
        precision=call.precision,
    )


class BaseCodeTrainer:
    """A run of one encoder in `folder`; continues from its state to the same bits."""

    def __init__(
        self, generator: Any, folder: Path, settings: BaseCodeSettings, start: Path | None = None
    ) -> None:
        """Set up the run, or read its state.

        Args:
            generator: whose base codes are told; not changed.
            folder: of the run.
            settings: of the call.
            start: encoder that a fresh run begins at, of any generator; None: random weights.

        Raises:
            CheckpointError: the folder has the run of another generator or layer, or its state is damaged;
                or the encoder to begin at is of another shape.
            UnknownNameError: the generator has no such layer.
        """
        self.folder, self.settings, self.device = folder, settings, pick_device(settings.device)
        self.generator = generator.to(self.device).requires_grad_(False).eval()
        space = find_space(f"f{settings.block}/w+" if settings.block else "f/w+")
        self.block = space.block_of(generator)
        with torch.no_grad():
            ws = generator.mapping(random_z(generator, 1, step_rng(0, 0)).to(self.device))
            channels = generator.features_at(ws, self.block)[0].shape[1]
        widths = settings.widths or (max(1, channels // 4), max(1, channels // 2), channels)
        if len(widths) != 3 or widths[-1] != channels:
            raise InverterError(f"the layer has {channels} channels; widths {widths} do not end in them")
        self.card = BaseCodeCard(generator.card.fingerprint, generator.card.name, self.block, widths, 0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.encoder = BaseCodeEncoder(widths).to(self.device)
        self._begin_at(start)
        self.named = dict(self.encoder.named_parameters())
        self.optimiser = torch.optim.Adam(self.encoder.parameters(), lr=settings.learning_rate)
        self.perceptual, self.perceptual_name = perceptual_loss(settings.net, self.device)
        self.dtype = pick_dtype(settings.precision, self.device)
        self.drawn = GeneratorSamples(folder / "samples", generator.card.fingerprint)
        self.step = 0
        self._restore()

    def run(self, on_step: OnStep | None = None) -> bool:
        """Train to the last step, or until the call's time is over; return whether all steps are done."""
        if self.settings.pictures:
            make_samples(self.folder / "samples", self.generator, self.settings.pictures, self.settings.seed)
            self.drawn.refresh()
        began = saved = time.monotonic()
        while self.step < self.settings.steps:
            losses = self._one_step()
            self.step += 1
            now = time.monotonic()
            if now - saved >= self.settings.save_every or self.step == self.settings.steps:
                self.save()
                saved = now
            if on_step is not None:
                on_step(self.step, losses)
            if now - began >= 60 * self.settings.minutes:
                self.save()
                break
        return self.step >= self.settings.steps

    def export(self, path: Path) -> BaseCodeCard:
        """Write the encoder as it is to `path` (.safetensors); return its card."""
        card = replace(self.card, steps=self.step)
        save_base_code_encoder(path, self.encoder, card)
        return card

    # State

    def save(self) -> None:
        """Write the state to the folder."""
        moments = optimiser_tensors(self.optimiser, list(self.named))
        weights = {f"encoder.{name}": tensor for name, tensor in self.encoder.state_dict().items()}
        info = {"step": self.step, "fingerprint": self.card.fingerprint, "block": self.block}
        self.folder.mkdir(parents=True, exist_ok=True)
        save_state(self.folder / "state", weights | moments, info | {"widths": list(self.card.widths)})

    def _begin_at(self, start: Path | None) -> None:
        if start is None:
            return
        encoder, card = read_base_code_encoder(start)
        shape, own = (card.block, card.widths), (self.block, self.card.widths)
        if shape != own:
            raise CheckpointError(
                f"'{start}' is of block {shape[0]} and widths {shape[1]}, the run of {own[0]} and {own[1]}"
            )
        self.encoder.load_state_dict(encoder.state_dict())

    def _restore(self) -> None:
        found = load_state(self.folder / "state")
        if found is None:
            return
        tensors, info = found
        own = self.card.fingerprint, self.block, list(self.card.widths)
        if (info.get("fingerprint"), info.get("block"), info.get("widths")) != own:
            raise CheckpointError(
                f"{self.folder} holds the run of another base-code encoder (generator "
                f"{str(info.get('fingerprint'))[:12]}, block {str(info.get('block'))[:12]}); take another "
                "folder"
            )
        weights = {
            name.removeprefix("encoder."): t for name, t in tensors.items() if name.startswith("encoder.")
        }
        self.encoder.load_state_dict(weights)
        restore_optimiser(self.optimiser, list(self.named), tensors)
        self.step = info["step"]

    # One step

    def _one_step(self) -> dict[str, float]:
        """One step of Adam on pictures that depend on seed and step alone."""
        p = self.settings
        for group in self.optimiser.param_groups:
            group["lr"] = p.learning_rate * 0.1 ** (self.step // p.drop_every)
        image, ws, cameras = self._samples(step_rng(p.seed, self.step))
        upper = ws if p.upper == "own" else self.generator.backbone.mapping.w_avg.expand_as(ws)
        self.encoder.train()
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            features = self.encoder(as_input(image, self.block))
        found = self._picture(LayerCodes(features.float(), skip=p.skip), upper, cameras)
        truth = F.interpolate(image, size=found.shape[2:], mode="area") if p.side else image
        terms = {
            "image": p.lambda_image * (found - truth).square().mean(),
            "perceptual": p.lambda_perceptual * self.perceptual(found, truth),
        }
        self.optimiser.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()
        self.optimiser.step()
        return {name: float(value.detach()) for name, value in terms.items()}

    @torch.no_grad()
    def _samples(self, rng: torch.Generator) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Pictures [N,3,S,S] of random codes, the codes [N,num_ws,w_dim] and their cameras."""
        p, rule = self.settings, self.generator.card.camera_rule
        if p.pictures:
            views = self.drawn.draw(p.batch, rng).to(self.device)
            return views.image, views.codes, (views.cam2world, zoomed_intrinsics(views.zoom))
        ws = self.generator.mapping(random_z(self.generator, p.batch, rng).to(self.device))
        yaw, pitch = torch.randn(2, p.batch, generator=rng)
        cam2world = look_at(p.yaw * yaw, p.pitch * pitch, rule.radius, rule.pivot).to(self.device)
        cameras = cam2world, intrinsics(rule.focal).to(self.device).expand(p.batch, -1, -1)
        return self._picture(LayerCodes(), ws, cameras), ws, cameras

    def _picture(self, layer_codes: LayerCodes, ws: Tensor, cameras: tuple[Tensor, Tensor]) -> Tensor:
        """The final pictures [N,3,S,S], or the raw ones of `settings.side`."""
        generator, p = self.generator, self.settings
        planes = layer_codes.planes(generator, ws)
        found = generator.render(planes, *cameras, p.side or None, generator.sampling(*p.samples)).features
        image: Tensor = found[:, :3] if p.side else generator.superresolve(found, ws)
        return image


def train_base_code(
    generator: Any,
    folder: Path,
    export: Path,
    settings: BaseCodeSettings,
    nice: int = 0,
    start: Path | None = None,
) -> BaseCodeCard | None:
    """Train in `folder`, or go on there, and write the encoder as it then is to `export`.

    With `minutes` 0 nothing is trained. `nice` is added to the process's niceness. A fresh run begins at the
    encoder `start`, if one is given.

    Returns:
        Its card; None if the run was stopped by SIGINT or SIGTERM: its state is saved, and nothing exported.
    """
    trainer = BaseCodeTrainer(generator, folder, settings, start)
    if settings.minutes > 0:
        keep_freed_memory()
        os.nice(nice)
        be_interruptible()
        print(f"perceptual loss: {trainer.perceptual_name}", flush=True)
        try:
            trainer.run(_progress())
        except KeyboardInterrupt:
            trainer.save()
            print("stopped by hand; the run is saved and continues when started again", flush=True)
            return None
    return trainer.export(export)


def _progress(every: float = 10.0) -> OnStep:
    """What prints the losses every so many seconds, each a running mean."""
    means: dict[str, float] = {}
    last = began = time.monotonic()

    def on_step(step: int, losses: dict[str, float]) -> None:
        nonlocal last
        means.update({k: 0.9 * means.get(k, v) + 0.1 * v for k, v in losses.items()})
        if (now := time.monotonic()) - last > every:
            last = now
            text = "  ".join(f"{k} {v:.4f}" for k, v in means.items())
            print(f"step {step}  {(now - began) / 60:.1f} min  {text}", flush=True)

    return on_step
