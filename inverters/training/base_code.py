"""Training of the base-code encoder from a generator's own samples alone.

Katsumata et al. 2024, section 3.3, equation 2: a picture x of a random code is told its base code E(x), from
which, with the code's own upper layers, the generator must give the picture back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inverters.encoders.base_code import BaseCodeCard, BaseCodeEncoder, as_input, save_base_code_encoder
from inverters.errors import CheckpointError, InverterError
from inverters.fitting.latents import random_z
from inverters.fitting.losses import perceptual_loss
from inverters.fitting.spaces import LayerCodes, Skip, find_space
from inverters.rendering.cameras import intrinsics, look_at
from inverters.training.machine import pick_device
from inverters.training.reading import step_rng
from inverters.training.training_state import load_state, optimiser_tensors, restore_optimiser, save_state

OnStep = Callable[[int, dict[str, float]], None]
"""Called after each step as on_step(steps done, {loss name: value})."""


_BOUNDS = {
    "steps": (1, 10**9),
    "batch": (2, 10**4),
    "learning_rate": (1e-9, 1),
    "drop_every": (1, 10**9),
    "minutes": (0, float("inf")),
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


class BaseCodeTrainer:
    """A run of one encoder in `folder`; continues from its state to the same bits."""

    def __init__(self, generator: Any, folder: Path, settings: BaseCodeSettings) -> None:
        """Set up the run, or read its state.

        Raises:
            CheckpointError: the folder has the run of another generator or layer, or its state is damaged.
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
        self.named = dict(self.encoder.named_parameters())
        self.optimiser = torch.optim.Adam(self.encoder.parameters(), lr=settings.learning_rate)
        self.perceptual, self.perceptual_name = perceptual_loss(settings.net, self.device)
        self.step = 0
        self._restore()

    def run(self, on_step: OnStep | None = None) -> bool:
        """Train to the last step, or until the call's time is over; return whether all steps are done."""
        began = saved = time.monotonic()
        while self.step < self.settings.steps:
            losses = self._one_step()
            self.step += 1
            now = time.monotonic()
            if now - saved >= self.settings.save_every or self.step == self.settings.steps:
                self._save()
                saved = now
            if on_step is not None:
                on_step(self.step, losses)
            if now - began >= 60 * self.settings.minutes:
                self._save()
                break
        return self.step >= self.settings.steps

    def export(self, path: Path) -> BaseCodeCard:
        """Write the encoder as it is to `path` (.safetensors); return its card."""
        card = replace(self.card, steps=self.step)
        save_base_code_encoder(path, self.encoder, card)
        return card

    # State

    def _save(self) -> None:
        moments = optimiser_tensors(self.optimiser, list(self.named))
        weights = {f"encoder.{name}": tensor for name, tensor in self.encoder.state_dict().items()}
        info = {"step": self.step, "fingerprint": self.card.fingerprint, "block": self.block}
        self.folder.mkdir(parents=True, exist_ok=True)
        save_state(self.folder / "state", weights | moments, info | {"widths": list(self.card.widths)})

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
        truth, ws, cameras = self._samples(step_rng(p.seed, self.step))
        self.encoder.train()
        found = self._picture(LayerCodes(self.encoder(as_input(truth, self.block)), skip=p.skip), ws, cameras)
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
        ws = self.generator.mapping(random_z(self.generator, p.batch, rng).to(self.device))
        yaw, pitch = torch.randn(2, p.batch, generator=rng)
        cam2world = look_at(p.yaw * yaw, p.pitch * pitch, rule.radius, rule.pivot).to(self.device)
        cameras = cam2world, intrinsics(rule.focal).to(self.device).expand(p.batch, -1, -1)
        return self._picture(LayerCodes(), ws, cameras), ws, cameras

    def _picture(self, layer_codes: LayerCodes, ws: Tensor, cameras: tuple[Tensor, Tensor]) -> Tensor:
        generator = self.generator
        planes = layer_codes.planes(generator, ws)
        found = generator.render(planes, *cameras, sampling=generator.sampling(*self.settings.samples))
        image: Tensor = generator.superresolve(found.features, ws)
        return image


def train_base_code(
    generator: Any, folder: Path, export: Path, settings: BaseCodeSettings, on_step: OnStep | None = None
) -> BaseCodeCard | None:
    """Train in `folder`, or go on there, and write the encoder to `export` when all steps are done.

    Returns:
        Its card; None if the call's time was over before.
    """
    trainer = BaseCodeTrainer(generator, folder, settings)
    return trainer.export(export) if trainer.run(on_step) else None
