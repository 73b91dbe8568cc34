"""Training of encoders without photographs (`invid train-encoder`).

Row 0 of w+ learns the true w, which is known for every picture, by a distance of codes that needs no
rendering; a few pictures of each step go through the generator as well, and the other rows learn from them.
Half of the pictures are covered, and the target is the face behind; the soft mask learns the cover.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from inverters.encoders.e4e_mask import E4eMask, Seen
from inverters.encoders.encoder_file import EncoderCard, load_encoder, save_encoder
from inverters.encoders.table import kind_of, see
from inverters.errors import CheckpointError
from inverters.generators.eg3d import Generator
from inverters.generators.feature_loss import FeatureLoss
from inverters.generators.judge import JUDGE_PATH
from inverters.memory import keep_freed_memory
from inverters.people.params import NUM_PARAMETERS, to_z
from inverters.training.code_metric import CodeMetric, code_metric
from inverters.training.covered_people import CoveredPeople, make_covered
from inverters.training.encoder_batches import (
    Views,
    covered_views,
    degraded,
    framed,
    lay_over,
    stored_views,
)
from inverters.training.encoder_figures import measure
from inverters.training.encoder_settings import EncoderSettings
from inverters.training.encoder_start import begin_at_judge, fit_last_layer, pick_dtype
from inverters.training.export import LICENCE
from inverters.training.generator_samples import GeneratorSamples, make_samples
from inverters.training.machine import be_interruptible, pick_device
from inverters.training.reading import step_rng
from inverters.training.stored_set import StoredPeople, zoomed_intrinsics
from inverters.training.training_state import (
    load_state,
    optimiser_tensors,
    restore_optimiser,
    save_state,
    trained,
)

_CPU_BATCH, _GPU_BATCH = 48, 256
_COOL_FROM = 2 / 3
"""Share of a call from which the learning rate falls."""


class EncoderTrainer:
    """A training run of one encoder in `folder`; resumes from its state."""

    learns_covers = True
    """Whether it learns from covered people."""

    def __init__(
        self,
        name: str,
        generator: Generator,
        folder: Path,
        settings: EncoderSettings,
        people: Path | None = None,
        start: Path | None = None,
    ) -> None:
        """Set up the run.

        Args:
            name: of the encoder in `encoders.table`.
            generator: whose codes are told; fixed.
            folder: of the run: its state, drawn pictures, figures.
            settings: of this call.
            people: folder of stored people; None: the generator's samples and the covered people alone.
            start: an encoder's file to begin a fresh run at, of any generator with codes of this shape.

        Raises:
            CheckpointError: the folder has the run of another encoder, or `start` has another layout.
        """
        self.name, self.folder, self.settings = name, folder, settings
        self.device = pick_device(settings.device)
        self.generator = generator.to(self.device).requires_grad_(False).eval()
        torch.manual_seed(settings.seed)
        kind = kind_of(name)
        try:
            self.config = kind.small(generator.config)
            network = kind.build(self.config)
        except ValueError as error:
            raise CheckpointError(
                f"{name} cannot be made for generator '{generator.card.name}': {error}"
            ) from None
        self.network = network.to(self.device).to(memory_format=torch.channels_last)
        self.optimiser = torch.optim.AdamW(
            self.groups(), lr=settings.learning_rate, betas=(0.9, 0.99), weight_decay=0.01
        )
        self.named = dict(self.network.named_parameters())
        self.named_people = len(generator.card.parameters) == NUM_PARAMETERS
        self.stored = self._stored(people)
        self.covered = CoveredPeople(folder / "covered")
        self.samples = GeneratorSamples(folder / "samples", generator.card.fingerprint)
        self.step, self.seconds = 0, 0.0
        self.before: dict[str, float] = {}
        """Steps and hours of the encoder that the run began at."""
        self.mean: dict[str, Tensor] = {}
        self.metric: CodeMetric | None = None
        self.features = FeatureLoss(JUDGE_PATH, self.device) if settings.losses.perceptual else None
        self._begin(start)

    def groups(self) -> list[dict[str, Any]]:
        """Return the network's parameters in their order, as groups with their `share` of the rate."""
        return [{"params": list(self.network.parameters()), "share": 1.0}]

    def _stored(self, people: Path | None) -> StoredPeople | None:
        """The stored people, where the generator's z names the parameters that they have."""
        if people is None or not people.is_dir() or not self.named_people:
            return None
        found = StoredPeople(people, parameters=NUM_PARAMETERS)
        return found if len(found) else None

    # State

    def _begin(self, start: Path | None) -> None:
        """Load the run's state, or else the weights of `start`, or else those of the judge."""
        found = load_state(self.folder / "state")
        if found is None:
            self._fresh(start)
            return
        tensors, info = found
        if info["network"] != self.name:
            raise CheckpointError(
                f"{self.folder} holds the run of encoder '{info['network']}', not of '{self.name}'; "
                "take another folder"
            )
        if info["generator"] != self.generator.card.fingerprint:
            theirs, ours = info["generator"][:12], self.generator.card.fingerprint[:12]
            raise CheckpointError(
                f"the run in {self.folder} is for generator {theirs}, the generator in use is {ours}; "
                "take another --folder, and begin at its encoder with --start"
            )
        own = {k.removeprefix("n."): v for k, v in tensors.items() if k.startswith("n.")}
        self.network.load_state_dict(own)
        restore_optimiser(self.optimiser, list(self.named), tensors)
        self.step, self.seconds, self.before = info["step"], info["seconds"], info.get("before", {})
        print(f"resumed at step {self.step}, after {self.seconds / 60:.1f} minutes of training", flush=True)

    def _fresh(self, start: Path | None) -> None:
        if start is not None:
            before = load_encoder(start)
            if (before.card.network, before.card.config) != (self.name, self.config):
                raise CheckpointError(
                    f"'{start}' is an encoder {before.card.network} of other sizes than this {self.name}"
                )
            self.network.load_state_dict(before.network.state_dict())
            self.before = dict(before.card.reports.get("training", {}))
        elif isinstance(self.network, E4eMask) and JUDGE_PATH.exists():
            begin_at_judge(self.network, load_file(JUDGE_PATH))

    def save(self) -> None:
        """Write the state to `folder`."""
        tensors = {f"n.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= optimiser_tensors(self.optimiser, list(self.named))
        info: dict[str, Any] = {"network": self.name, "generator": self.generator.card.fingerprint}
        info |= {"step": self.step, "seconds": self.seconds, "settings": asdict(self.settings)}
        info["before"] = self.before
        save_state(self.folder / "state", tensors, info)

    def export(self, path: Path, reports: dict[str, Any] | None = None) -> EncoderCard:
        """Write the encoder in our own file form, at half precision; the card counts all its steps."""
        card = self.generator.card
        reports = {"training": trained(self.before, self.step, self.seconds)} | (reports or {})
        made = EncoderCard(self.name, self.config, card.name, card.fingerprint, LICENCE, reports)
        return save_encoder(path, self.network, made)

    # A step

    def codes(self, codes: Tensor) -> Tensor:
        """Return w [n,num_ws,w_dim] of what `Views.codes` holds."""
        if codes.ndim == 3:
            return codes
        with torch.no_grad():
            return self.generator.mapping(to_z(codes, self.generator.config.z_dim))

    def batch(self, rng: torch.Generator) -> list[Views]:
        """Draw the views of a step, true pictures first."""
        count = self.settings.batch or (_CPU_BATCH if self.device.type == "cpu" else _GPU_BATCH)
        shares = {"covered": count // 6 if self.named_people and len(self.covered) else 0}
        shares["samples"] = count // 8 if len(self.samples) else 0
        if self.stored is None:
            shares["samples"] = count - shares["covered"]
        found = []
        if self.stored is not None:
            found.append(stored_views(self.stored, count - sum(shares.values()), rng))
        if shares["samples"]:
            found.append(self.samples.draw(shares["samples"], rng))
        if shares["covered"]:
            rows = torch.randint(len(self.covered), (shares["covered"],), generator=rng)
            columns = self.covered.tensors["zoom"].shape[1]
            views = torch.randint(columns, (len(rows),), generator=rng)
            found.append(covered_views(self.covered, rows, views))
        return found

    @torch.no_grad()
    def refit(self) -> None:
        """Fit the last layer of our own network to some batches by least squares, and make all rows equal.

        Codes then lie among those of true faces: pictures alone pull them to where faces are blurred.
        """
        if not self.settings.refit or not isinstance(self.network, E4eMask):
            return
        hidden, offsets = [], []
        for k in range(self.settings.refit):
            image, _, ws, _ = self.pictures(step_rng(self.settings.seed + 1, k))
            hidden.append(self.network.hidden(self.network.trunk(image)[-1]))
            offsets.append(ws[:, 0] - self.generator.backbone.mapping.w_avg)
        fit_last_layer(self.network, torch.cat(hidden), torch.cat(offsets))
        self.network.rows.weight.zero_()

    def pictures(self, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Views]:
        """Draw the pictures of a step [n,3,128,128], with covers [n,1,128,128] and w+ [n,num_ws,w_dim].

        The last value are the views of the first source, as they were before covers and framing.
        """
        parts, images, covers, codes = self.batch(rng), [], [], []
        for part in parts:
            image, cover = framed(part, rng)
            if len(self.covered) and not bool(part.cover.any()):
                image, cover = lay_over(image, cover, part.cam2world, self.covered, rng)
            images.append(degraded(image, rng))
            covers.append(cover)
            codes.append(self.codes(part.codes.to(self.device)))
        image = torch.cat(images).to(self.device, memory_format=torch.channels_last)
        return image, torch.cat(covers).to(self.device), torch.cat(codes), parts[0]

    def losses(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """Return the weighed losses of the present step."""
        s = self.settings
        image, cover, ws, first = self.pictures(step_rng(s.seed, self.step))
        with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
            seen = see(self.network, image)
        seen = Seen(seen.offsets.float(), None if seen.mask is None else seen.mask.float())
        found = self._code_losses(seen, ws)
        found |= self._cover_loss(seen, cover)
        if s.picture_people and (self.step >= s.pictures_from or s.preset == "paper"):
            few = slice(s.picture_people)
            found |= self._picture_losses(seen.offsets[few], first.of(few))
        return found

    def _code_losses(self, seen: Seen, ws: Tensor) -> dict[str, Tensor]:
        p, found = self.settings.losses, {}
        difference = seen.offsets[:, 0] + self.generator.backbone.mapping.w_avg - ws[:, 0]
        if p.code or p.parameters:
            assert self.metric is not None, "see prepare"
            terms = self.metric.terms(difference)
            if p.code:
                found["code"] = p.code * terms["picture"]
            if p.parameters and "parameters" in terms:
                found["parameters"] = p.parameters * terms["parameters"]
        if p.w:
            spread = self.generator.card.w_std.to(self.device).clamp_min(1e-6)
            found["w"] = p.w * (difference / spread).square().mean()
        if p.delta:
            found["delta"] = p.delta * (seen.offsets - seen.offsets[:, :1]).square().mean()
        return found

    def _cover_loss(self, seen: Seen, cover: Tensor) -> dict[str, Tensor]:
        p = self.settings.losses
        if not p.cover or seen.mask is None:
            return {}
        truth = F.interpolate(cover, size=seen.mask.shape[2:], mode="area")
        return {"cover": p.cover * F.binary_cross_entropy_with_logits(seen.mask, truth)}

    def _picture_losses(self, offsets: Tensor, views: Views) -> dict[str, Tensor]:
        """Compare pictures of codes with the true ones, which no occluder covers."""
        p, side = self.settings.losses, self.settings.picture_side
        ws = offsets + self.generator.backbone.mapping.w_avg
        intrinsics = zoomed_intrinsics(views.zoom).to(self.device)
        sampling = self.generator.sampling(24, 24)
        camera = views.cam2world.to(self.device)
        seen = self.generator.render(self.generator.planes(ws), camera, intrinsics, side, sampling)
        truth = F.interpolate(views.image.to(self.device), size=(side, side), mode="area")
        found = {"l2": p.l2 * (seen.features[:, :3] - truth).square().mean()}
        if self.features is not None:
            found["perceptual"] = p.perceptual * self.features(seen.features[:, :3], truth)
        return found

    # A call

    def prepare(self, until: float | None = None) -> None:
        """Draw covered people and samples that are missing, and what the losses need."""
        s = self.settings
        if s.covers and self.learns_covers:
            make_covered(self.folder / "covered", s.covers, s.seed, until)
            self.covered.refresh()
        if s.samples:
            make_samples(self.folder / "samples", self.generator, s.samples, s.seed)
            self.samples.refresh()
        if self.stored is None and not len(self.samples):
            raise CheckpointError(
                "there is nothing to learn from: give the folder of stored people with --set, or --samples"
            )
        self._prepare_losses()

    def _prepare_losses(self) -> None:
        """Make the metric of codes, or read it from the run's folder."""
        path = self.folder / "metric.safetensors"
        fingerprint = self.generator.card.fingerprint
        found = CodeMetric.read(path, fingerprint) or code_metric(self.generator)
        found.write(path, fingerprint)
        self.metric = found.to(self.device)

    def run(self) -> bool:
        """Train for `minutes`; return whether it came to its end.

        The state is saved every `save_every` seconds, at the end, and on SIGINT or SIGTERM.
        """
        s = self.settings
        keep_freed_memory()
        os.nice(s.nice)
        be_interruptible()
        began = self._saved = time.monotonic()
        finished = True
        try:
            self.prepare()
            dtype = pick_dtype(s.precision, self.device)
            print(f"{len(self.covered)} covered people, {len(self.samples)} samples, {dtype}", flush=True)
            began = self._saved = time.monotonic()
            if not self.step:
                self.refit()
            self._train(began, dtype)
            self.refit()
        except KeyboardInterrupt:
            print("stopped by hand; the run is saved and continues when started again", flush=True)
            finished = False
        self.checkpoint()
        return finished

    def _train(self, began: float, dtype: torch.dtype) -> None:
        s, last, first = self.settings, began, self.step
        self.network.train()
        while (share := (time.monotonic() - began) / (60 * s.minutes)) < 1 or self.step == first:
            fall = min(1.0, max(0.0, (1 - share) / (1 - _COOL_FROM)))
            for group in self.optimiser.param_groups:
                group["lr"] = group["share"] * s.learning_rate * min(1.0, (self.step + 1) / 100) * fall
            losses = self.losses(dtype)
            self.optimiser.zero_grad(set_to_none=True)
            torch.stack(list(losses.values())).sum().backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimiser.step()
            self.step += 1
            self.mean = {k: torch.lerp(self.mean.get(k, v), v, 0.02) for k, v in _detached(losses).items()}
            now = time.monotonic()
            if now - last > 10:
                last = now
                text = "  ".join(f"{k} {v.item():.4f}" for k, v in self.mean.items())
                print(f"step {self.step}  {(now - began) / 60:.1f} min  {text}", flush=True)
            if now - self._saved > s.save_every:
                self.covered.refresh()
                self.checkpoint()

    def figures(self, sheet: Path) -> dict[str, float]:
        """Return figures of people held out, and write a sheet of their pictures."""
        people = None if self.stored is None else self.stored.folder
        return measure(self.network, self.generator, people, self.folder / "covered", self.samples, sheet)

    def checkpoint(self) -> None:
        """Save the state, measure on people held out, and add a row to `figures.jsonl`."""
        now = time.monotonic()
        self.seconds += now - self._saved
        self._saved = now
        self.save()
        row: dict[str, Any] = {"step": self.step, "minutes": round(self.seconds / 60, 2)}
        row |= {k: round(v.item(), 5) for k, v in self.mean.items()}
        self.network.eval()
        row |= self.figures(self.folder / "pictures" / f"{self.step:07d}.png")
        self.network.train()
        with (self.folder / "figures.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        print("  ".join(f"{k} {v}" for k, v in row.items()), flush=True)


def _detached(losses: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in losses.items()}
