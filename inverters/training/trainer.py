"""Training of the bundled generator on procedural heads: first at points in space, then on patches as well.

There are no photographs and no discriminator. The truth of every head is known, so plain regression learns
the map from z, whose first entries are the head's parameters, to the tri-planes.
"""

from __future__ import annotations

import copy
import itertools
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from inverters.generators.checkpoint import load_checkpoint
from inverters.generators.config import GeneratorConfig
from inverters.generators.eg3d import Generator
from inverters.heads.params import NUM_PARAMETERS
from inverters.training.contact import comparison_sheet
from inverters.training.generator_losses import (
    DENSITY_GAIN,
    density_scaled,
    patch_losses,
    planes_of,
    point_losses,
)
from inverters.training.pictures import PICTURE_SEED, load_pictures, make_pictures, patch_batch
from inverters.training.pretrain import pretrain_mapping
from inverters.training.settings import TrainSettings
from inverters.training.sharpen import KERNEL_RATE_GAIN, sharpen
from inverters.training.supervision import SEED_STRIDE, HeadBatches, PointSettings
from inverters.training.training_state import load_state, optimiser_tensors, restore_optimiser, save_state

MAPPING_RATE_GAIN = 12.5
"""Learning rate of the mapping relative to all other parameters: its multiplier of 0.01 is for adversarial
training.
"""

BUNDLED_CONFIG = GeneratorConfig(
    z_dim=512,
    w_dim=512,
    c_dim=0,
    mapping_layers=4,
    mapping_features=512,
    channel_base=3072,
    channel_max=192,
    plane_resolution=128,
    plane_channels=32,
    plane_axes="fixed",
    img_resolution=256,
    neural_rendering_resolution=64,
    superresolution="small4x",
)


def _rate_gain(name: str, parameter: Tensor) -> float:
    """Learning rate of a parameter relative to the run's."""
    if ".mapping." in name:
        return MAPPING_RATE_GAIN
    return KERNEL_RATE_GAIN if parameter.ndim == 4 else 1.0


def _prepare(generator: Generator) -> None:
    """Zero the weights of z beyond the parameters for good, and zero the blocks trained later.

    With its last block zeroed the synthesis only enlarges the planes; a zeroed super-resolution only enlarges
    the raw image.
    """
    weight = generator.backbone.mapping.fc0.weight
    silent = torch.ones_like(weight)
    silent[:, NUM_PARAMETERS:] = 0
    with torch.no_grad():
        weight.mul_(silent * (weight.shape[1] / NUM_PARAMETERS) ** 0.5)
        _silence_late_blocks(generator)
    weight.register_hook(lambda grad: grad * silent)


@torch.no_grad()
def _silence_late_blocks(generator: Generator) -> None:
    """Zero the `torgb` layers of the last block of the planes and of both blocks of super-resolution.

    The blocks then pass on their enlarged input and add nothing to it.
    """
    last = getattr(generator.backbone.synthesis, generator.backbone.synthesis.names[-1])
    for block in (last, generator.superresolution.block0, generator.superresolution.block1):
        block.torgb.weight.zero_()
        block.torgb.bias.zero_()


class Trainer:
    """A training run in `folder`: generator, moving average, Adam, step number; resumes from its state."""

    def __init__(
        self, folder: Path, settings: TrainSettings, config: GeneratorConfig = BUNDLED_CONFIG
    ) -> None:
        self.folder, self.settings = folder, settings
        device = settings.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(device)
        torch.manual_seed(settings.seed)
        self.generator = Generator(config).to(self.device)
        _prepare(self.generator)
        self.average = copy.deepcopy(self.generator).eval().requires_grad_(False)
        named = sorted(self.generator.named_parameters(), key=lambda item: _rate_gain(*item), reverse=True)
        self.named = dict(named)
        groups = [
            {"params": [p for _, p in group], "gain": gain}
            for gain, group in itertools.groupby(named, key=lambda item: _rate_gain(*item))
        ]
        self.optimiser = torch.optim.Adam(groups, lr=settings.learning_rate, betas=(0.9, 0.99))
        self.step = 0
        self.seconds = 0.0
        self.pictures: dict[str, Tensor] = {}
        self.resume()

    def resume(self) -> None:
        """Load the state in `folder`; a run without one begins from `start` or by pretraining the mapping."""
        found = load_state(self.folder / "state")
        if found is None:
            if self.settings.start:
                self.begin_from(Path(self.settings.start))
            elif self.settings.pretrain:
                pretrain_mapping(self.generator, steps=self.settings.pretrain)
                self.average.load_state_dict(self.generator.state_dict())
            return
        tensors, info = found
        for prefix, module in (("g.", self.generator), ("ema.", self.average)):
            own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            module.load_state_dict(own)
        restore_optimiser(self.optimiser, list(self.named), tensors)
        self.step, self.seconds = info["step"], info["seconds"]
        print(f"resumed at step {self.step}, after {self.seconds / 60:.0f} minutes of training", flush=True)

    def begin_from(self, path: Path) -> None:
        """Load the weights of an exported generator of this configuration."""
        _, weights = load_checkpoint(path)
        self.generator.load_state_dict({k: v.float() for k, v in weights.items()})
        with torch.no_grad():
            self.generator.decoder.net[2].weight[0] /= DENSITY_GAIN
            self.generator.decoder.net[2].bias[0] /= DENSITY_GAIN
        if self.settings.grow_at > 0:
            _silence_late_blocks(self.generator)
        self.average.load_state_dict(self.generator.state_dict())

    def save(self) -> None:
        """Write the state to `folder`."""
        tensors = {f"g.{k}": v for k, v in self.generator.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.average.state_dict().items()}
        tensors |= optimiser_tensors(self.optimiser, list(self.named))
        info = {"step": self.step, "seconds": self.seconds, "settings": asdict(self.settings)}
        save_state(self.folder / "state", tensors, info)

    def batches(self) -> Iterator[dict[str, Tensor]]:
        """Yield the batches of points from the present step on, made by worker processes."""
        points = PointSettings(heads=self.settings.heads)
        data = HeadBatches(points, self.settings.seed, self.step, self.step + 10_000_000)
        options: dict[str, Any] = {}
        if workers := self.settings.workers:
            # A signal to the whole group must reach the trainer alone: it saves, and its workers end with it.
            options = {"num_workers": workers, "prefetch_factor": 6, "worker_init_fn": _ignore_signals}
        return iter(DataLoader(data, batch_size=None, **options))

    def stored_pictures(self) -> dict[str, Tensor]:
        """Load the pictures that patches are cut from, after rendering those that are missing."""
        whole = self.generator.config.img_resolution
        folder, count = self.folder / "pictures-set", self.settings.pictures
        make_pictures(folder, count, self.settings.seed, whole=whole, side=whole * 5 // 8)
        return load_pictures(folder)

    def patches(self) -> dict[str, Tensor]:
        """Return the patches of the present step."""
        if not self.pictures:
            self.pictures = self.stored_pictures()
        config, s = self.generator.config, self.settings
        rng = torch.Generator().manual_seed((PICTURE_SEED + s.seed * SEED_STRIDE + self.step) % 2**32)
        sizes = {"whole": config.img_resolution, "neural_resolution": config.neural_rendering_resolution}
        return patch_batch(self.pictures, s.patches, s.patch, rng, **sizes)

    def learn(self, batch: dict[str, Tensor], rate: float) -> dict[str, float]:
        """Do one step of Adam at learning rate `rate`, update the moving average, and return the losses."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["gain"]
        if self.step >= self.settings.patches_from:
            batch = batch | self.patches()
        batch = {k: v.to(self.device, non_blocking=True) for k, v in batch.items()}
        full = self.generator.config.plane_resolution
        planes, _ = planes_of(
            self.generator, batch["scores"], full if self.step >= self.settings.grow_at else full // 2
        )
        losses = point_losses(self.generator, planes, batch)
        if "patch_uv" in batch:
            rng = torch.Generator(device=self.device).manual_seed(self.step)
            losses |= patch_losses(self.generator, batch, rng)
        total = torch.stack(list(losses.values())).sum()
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.named.values(), 5.0)
        self.optimiser.step()
        self.step += 1
        decay = min(self.settings.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, parameter in self.average.named_parameters():
                parameter.lerp_(self.named[name], 1 - decay)
        return {k: v.item() for k, v in losses.items()}

    def rate(self, elapsed: float) -> float:
        """Return the learning rate after `elapsed` seconds: warm-up, 1/sqrt of the step, linear cool-down."""
        s = self.settings
        rate = s.learning_rate * min(1.0, (self.step + 1) / 200) / (1 + self.step / 3000) ** 0.5
        left = 1 - elapsed / (60 * s.minutes)
        return rate * (max(0.02, min(1.0, left / s.cooldown)) if s.cooldown > 0 else 1.0)

    def run(self) -> None:
        """Train for `minutes`; save every `save_every` seconds, at the end, and on SIGINT or SIGTERM."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _interrupt)
        began = last_save = last_line = time.monotonic()
        batches = self.batches()
        mean: dict[str, float] = {}
        try:
            while (elapsed := time.monotonic() - began) < 60 * self.settings.minutes:
                now = self.learn(next(batches), self.rate(elapsed))
                mean = {k: 0.98 * mean.get(k, v) + 0.02 * v for k, v in now.items()}
                if time.monotonic() - last_line > 10:
                    last_line = time.monotonic()
                    text = "  ".join(f"{k} {v:.4f}" for k, v in mean.items())
                    print(f"step {self.step}  {elapsed / 60:.1f} min  {text}", flush=True)
                if time.monotonic() - last_save > self.settings.save_every:
                    self.seconds += time.monotonic() - last_save
                    last_save = time.monotonic()
                    self.save()
                    self.picture()
            if self.settings.sharpen and self.step >= self.settings.patches_from:
                self.sharpen()
        except KeyboardInterrupt:
            print("stopped by hand; the run is saved and continues when started again", flush=True)
        self.seconds += time.monotonic() - last_save
        self.save()
        self.picture()

    def sharpen(self, steps: int = 0) -> None:
        """Train the super-resolution of the moving average alone, and copy it to the generator.

        Args:
            steps: number of steps; 0 takes the settings' minutes.
        """
        baked = density_scaled(self.average).cpu()
        pictures = self.pictures or self.stored_pictures()
        sharpen(baked, pictures, self.settings.sharpen, steps, seed=self.step)
        for module in (self.average, self.generator):
            module.superresolution.load_state_dict(baked.superresolution.state_dict())

    @torch.no_grad()
    def picture(self) -> None:
        """Save `folder`/pictures/STEP.png: true heads above, the moving average's renders below."""
        baked = density_scaled(self.average)
        path = self.folder / "pictures" / f"{self.step:07d}.png"
        comparison_sheet(baked, path, seed=10_000, count=6)


def _ignore_signals(worker: int) -> None:
    """Leave SIGINT and SIGTERM to the parent process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _interrupt(number: int, frame: object) -> None:
    """Turn a signal into KeyboardInterrupt, even if the shell had it ignored."""
    raise KeyboardInterrupt
