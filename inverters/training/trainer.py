"""Training of the bundled generator on stored people: at points in space, then on patches of pictures too.

There are no photographs. The truth of every person is known, so plain regression learns the map from z, whose
first entries are the person's parameters, to the tri-planes and to the final picture.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import time
from dataclasses import asdict
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inverters.generators.config import GeneratorConfig
from inverters.generators.eg3d import Generator
from inverters.generators.feature_loss import FeatureLoss
from inverters.generators.judge import JUDGE_PATH
from inverters.memory import keep_freed_memory
from inverters.training.adversarial import Adversary, critic_of, pair
from inverters.training.batches import EDGE, Cameras, Patches, detail_chances, patch_batch, point_batch
from inverters.training.contact import compare, some_views
from inverters.training.export import export_generator
from inverters.training.losses import (
    as_raw,
    as_used,
    final_losses,
    planes_of,
    point_losses,
    raw_losses,
    texture,
)
from inverters.training.machine import be_interruptible, pick_batch, pick_device, pick_precision
from inverters.training.people_pictures import open_set, start_workers
from inverters.training.pretrain import pretrain_mapping
from inverters.training.reading import Reader, step_rng
from inverters.training.remapping import remap
from inverters.training.settings import TrainSettings
from inverters.training.start import BUNDLED_CONFIG, begin_from, make_optimiser, prepare
from inverters.training.stored_set import HELD_OUT, Views, part_path
from inverters.training.team import Team, settle_in, start_team, team_size
from inverters.training.training_state import (
    load_state,
    optimiser_tensors,
    restore_optimiser,
    save_state,
    trained,
)
from inverters.training.whitening import Whitening

SHOWN_PEOPLE = 24
"""People that a checkpoint is measured on, of those held out and of those learned from."""


class Trainer:
    """A training run in `folder`: generator, moving average, Adam, step number; resumes from its state."""

    def __init__(
        self, folder: Path, people: Path, settings: TrainSettings, config: GeneratorConfig = BUNDLED_CONFIG
    ) -> None:
        self.folder, self.settings = folder, settings
        self.device = pick_device(settings.device)
        torch.manual_seed(settings.seed)
        self.generator = Generator(config).to(self.device)
        prepare(self.generator)
        self.average = copy.deepcopy(self.generator).eval().requires_grad_(False)
        self.optimiser, self.named = make_optimiser(self.generator, settings.learning_rate)
        self.step = 0
        self.seconds = 0.0
        self.cooled = 0.0
        self.before: dict[str, float] = {}
        """Steps and hours of the generator that the run began from."""
        self.stored = open_set(people)
        self.features = (
            FeatureLoss(Path(settings.judge or JUDGE_PATH), self.device) if settings.perceptual else None
        )
        self.adversary = Adversary(self.device) if settings.adversarial else None
        self.whitening: Whitening | None = None
        self._judged: tuple[Tensor, Tensor] | None = None
        self.team: Team | None = None
        self.mean: dict[str, Tensor] = {}
        self._saved = time.monotonic()
        self.resume()

    @property
    def _state(self) -> Path:
        """Folder of the state of this call: a cooling run has its own, so that the run itself can go on."""
        return self.folder / ("cooling" if self.settings.cooldown else "state")

    def resume(self) -> None:
        """Load the state in `folder`; a run without one begins from `start`, if that is given."""
        found = load_state(self._state) or load_state(self.folder / "state")
        if found is None:
            if self.settings.start:
                start = Path(self.settings.start)
                self.before = begin_from(self.generator, start, self.settings.grow_at > 0)
                self.average.load_state_dict(self.generator.state_dict())
            if self.settings.critic and self.adversary is not None:
                self.adversary.restore(critic_of(Path(self.settings.critic)))
            return
        tensors, info = found
        for prefix, module in (("g.", self.generator), ("ema.", self.average)):
            own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            module.load_state_dict(own)
        self.whitening = Whitening.stored({k: v.to(self.device) for k, v in tensors.items()})
        restore_optimiser(self.optimiser, list(self.named), tensors)
        if self.adversary is not None:
            self.adversary.restore(tensors)
        self.step, self.seconds, self.cooled = info["step"], info["seconds"], info["cooled"]
        self.before = info.get("before", {})
        print(f"resumed at step {self.step}, after {self.seconds / 3600:.2f} hours of training", flush=True)

    def save(self) -> None:
        """Write the state to `folder`."""
        tensors = {f"g.{k}": v for k, v in self.generator.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.average.state_dict().items()}
        tensors |= optimiser_tensors(self.optimiser, list(self.named))
        if self.whitening is not None:
            tensors |= self.whitening.tensors()
        if self.adversary is not None:
            tensors |= self.adversary.tensors()
        info = {"step": self.step, "seconds": self.seconds, "cooled": self.cooled, "before": self.before}
        save_state(self._state, tensors, info | {"settings": asdict(self.settings)})

    def export(self, path: Path) -> None:
        """Write the moving average to `path` (.safetensors), with its card beside it; ends a cooling run.

        Steps and hours in the card are those of the generator that the run began from, too.
        """
        generator = as_used(self.average, self.whitening)
        export_generator(generator, path, **trained(self.before, self.step, self.seconds))
        if self.settings.cooldown:
            shutil.rmtree(self._state, ignore_errors=True)

    # One step

    def losses(self, views: Views) -> dict[str, Tensor]:
        """Return the losses of the present step on views."""
        s, config = self.settings, self.generator.config
        rng = step_rng(s.seed, self._draw, self.device)
        full, early = config.plane_resolution, self.step < s.grow_at
        planes, ws = planes_of(self.generator, views["scores"], full // 2 if early else full, self.whitening)
        cameras = Cameras.of(views)
        chances = detail_chances(views["label"].flatten(0, 1), views["depth"].flatten(0, 1))
        points = point_batch(views, cameras, chances, s.rays, s.rays // 4, rng)
        found = point_losses(self.generator, planes, points)
        found["density"] = found["density"] * s.geometry
        if self.step < s.patches_from:
            return found
        raw_size = config.neural_rendering_resolution
        patches = patch_batch(views, chances, s.patches, self.patch, raw_size, rng)
        raw, features = raw_losses(self.generator, planes, cameras, patches)
        raw["depth"] = raw["depth"] * s.geometry
        last = ws.repeat_interleave(s.patches, 0)
        image = self.generator.superresolution.patch(features, last, raw_size)
        return found | raw | self._image_losses(image, features[:, :3], patches)

    def _image_losses(self, image: Tensor, raw: Tensor, patches: Patches) -> dict[str, Tensor]:
        """Losses of final patches [n,3,H,W]: against the truth, by the judge's features, by the critic."""
        s, truth = self.settings, patches.image.flatten(0, 1)
        errors = final_losses(image, truth, patches.inner)
        found = {name: loss * s.regression for name, loss in errors.items()}
        inner = (..., slice(EDGE, -EDGE), slice(EDGE, -EDGE))
        if self.features is not None:
            found["features"] = self.features(image[inner], truth[inner]) * s.perceptual
        if s.texture:
            found["texture"] = texture(image[inner], truth[inner]) * s.texture
        if self.adversary is not None:
            made, true = pair(image, raw)[inner], pair(truth, as_raw(truth, raw.shape[-1]))[inner]
            terms = self.adversary.losses(made, true)
            found["critic"], found["matching"] = (term * s.adversarial for term in terms)
            self._judged = made.detach(), true
        return found

    @property
    def _draw(self) -> int:
        """Number of this process's draws in the present step."""
        return self.step if self.team is None else self.step * self.team.size + self.team.rank

    @property
    def patch(self) -> int:
        """Side of a patch in pixels of the raw render."""
        return min(self.settings.patch, self.generator.config.neural_rendering_resolution)

    def learn(self, views: Views, rate: float) -> dict[str, Tensor]:
        """Do one step of Adam at learning rate `rate`, update the moving average, and return the losses."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["gain"]
        losses = self.losses(views)
        self.optimiser.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        if self.team is not None:
            self.team.average(self.named.values())
        torch.nn.utils.clip_grad_norm_(self.named.values(), 5.0)
        self.optimiser.step()
        if self.adversary is not None and self._judged is not None:
            losses["critic_own"] = self.adversary.learn(*self._judged, self.team)
        self.step += 1
        if self.team is None or self.team.rank == 0:
            self._follow()
        return {k: v.detach() for k, v in losses.items()}

    def _follow(self) -> None:
        """Move the average towards the weights."""
        decay = min(self.settings.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            average = dict(self.average.named_parameters())
            for name, parameter in self.named.items():
                average[name].lerp_(parameter, 1 - decay)

    def rate(self) -> float:
        """Return the learning rate: warm-up, 1/sqrt of the step, and the fall of a cooling run."""
        s = self.settings
        rate = s.learning_rate * min(1.0, (self.step + 1) / 200) / (1 + self.step / 3000) ** 0.5
        return rate * (max(0.02, 1 - self.cooled / (60 * s.cooldown)) if s.cooldown else 1.0)

    # A call

    def begin(self) -> Reader:
        """Choose precision and batch for this machine, whiten the codes of a fresh run, start reading."""
        s = self.settings
        self.generator.precision = pick_precision(self.generator, s.precision)
        if self.step == 0 and s.pretrain and not s.start:
            pretrain_mapping(self.generator, steps=s.pretrain)
            self.average.load_state_dict(self.generator.state_dict())
        if self.step == 0 and s.start and s.remap:
            left = remap(self.generator, s.remap)
            print(f"the new codes leave {left:.1%} of the old ones unexplained", flush=True)
            self.average.load_state_dict(self.generator.state_dict())
        if self.whitening is None:
            self.whitening = Whitening.of(self.generator)
            self.whitening.enter(self.generator)
            self.whitening.enter(self.average)
        people = pick_batch(self.generator, s.batch, self._bytes_a_person())
        print(f"{people} people a step, of {len(self.stored)} stored", flush=True)
        return self._reader(people)

    def _reader(self, people: int) -> Reader:
        stride = 1 if self.team is None else self.team.size
        return Reader(self.stored, self.settings.seed, people, self.settings.views, self.device, stride)

    def assist(self, team: Team, people: int, precision: torch.dtype) -> None:
        """Do the steps of another process's run, as its rank in the team."""
        self.team, self.generator.precision = team, precision
        reader = self._reader(people)
        while True:
            go_on, rate = team.lead(True, 0.0)
            if not go_on:
                break
            self.learn(reader.at(self._draw), rate)
        team.leave()

    def _gather(self, reader: Reader) -> tuple[Reader, list[BaseProcess]]:
        """Start the other processes of the team, if there are to be any, from the state as saved now."""
        size = team_size(self.settings.processes, self.device)
        if size == 1:
            return reader, []
        self.save()
        torch.set_num_threads(max(1, torch.get_num_threads() // size))
        run = (self.folder, self.stored.folder, self.settings, self.generator.config)
        self.team, processes = start_team(size, _assist, (*run, reader.people, self.generator.precision))
        return self._reader(reader.people), processes

    def _bytes_a_person(self) -> int:
        """GPU memory that a person takes in a whole step, from a step of two people that is not applied."""
        if self.device.type != "cuda" or self.settings.batch:
            return 0
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        views = self.stored.draw(2, self.settings.views, step_rng(0, 0))
        step, self.step = self.step, max(self.settings.patches_from, self.settings.grow_at)
        losses = self.losses({k: v.to(self.device) for k, v in views.items()})
        torch.stack(list(losses.values())).sum().backward()
        self.step = step
        self.optimiser.zero_grad(set_to_none=True)
        return (torch.cuda.max_memory_allocated(self.device) - before) // 2

    def run(self) -> bool:
        """Train for `minutes`, or cool down; return whether it came to its end.

        The state is saved every `save_every` seconds, at the end, and on SIGINT or SIGTERM.
        """
        s = self.settings
        keep_freed_memory()
        os.nice(s.nice)
        be_interruptible()
        began = self._saved = time.monotonic()
        workers: list[BaseProcess] = []
        team: list[BaseProcess] = []
        try:
            workers = start_workers(self.stored.folder, s.people, s.workers, s.seed, self.device.type)
            self._wait_for_people(workers)
            reader, team = self._gather(self.begin())
            self._train(began, reader)
            finished = True
        except KeyboardInterrupt:
            print("stopped by hand; the run is saved and continues when started again", flush=True)
            finished = False
        self.checkpoint()
        for worker in workers:
            worker.terminate()
        for process in team:  # one that waits for a leader who was interrupted
            process.kill()
        if self.team is not None:
            self.team.leave()
            self.team = None
        return finished

    def _train(self, began: float, reader: Reader) -> None:
        """Do steps until the time is over."""
        s, last_line, first = self.settings, began, self.step
        while self._goes_on(began, first):
            now = time.monotonic()
            losses = self.learn(reader.at(self._draw), self.rate())
            self.mean = {k: torch.lerp(self.mean.get(k, v), v, 0.02) for k, v in losses.items()}
            if now - last_line > 10:
                last_line = now
                text = "  ".join(f"{k} {v.item():.4f}" for k, v in self.mean.items())
                print(f"step {self.step}  {(now - began) / 60:.1f} min  {text}", flush=True)
            if now - self._saved > s.save_every:
                self.checkpoint()
            self.cooled += time.monotonic() - now if s.cooldown else 0.0

    def _goes_on(self, began: float, first: int) -> bool:
        """Whether there is another step, at least one from step `first` on; says so to the team."""
        s, now = self.settings, time.monotonic()
        go_on = self.cooled < 60 * s.cooldown if s.cooldown else now < began + 60 * s.minutes
        go_on = go_on or (self.step == first and s.minutes > 0)
        if self.team is not None:
            self.team.lead(go_on, self.rate())
        return go_on

    def _wait_for_people(self, workers: list[BaseProcess]) -> None:
        """Wait while workers make the people held out, and the first ones to learn from."""
        held = part_path(self.stored.folder, HELD_OUT)
        while not (held.exists() and self.stored.refresh()) and any(w.is_alive() for w in workers):
            time.sleep(0.2)

    def checkpoint(self) -> None:
        """Save the state, measure the moving average, and add a row to the curve.

        `psnr_known` is of people that it learns from. More people can give what it is ahead by, at most.
        """
        now = time.monotonic()
        self.seconds += now - self._saved
        self._saved = now
        self.save()
        row: dict[str, float] = {"step": self.step, "hours": round(self.seconds / 3600, 4)}
        row |= {"people": len(self.stored), "rate": self.rate()}
        row |= {k: v.item() for k, v in self.mean.items()}
        if part_path(self.stored.folder, HELD_OUT).exists():
            sheet = self.folder / "pictures" / f"{self.step:07d}.png"
            generator = as_used(self.average, self.whitening)
            row |= compare(generator, some_views(self.stored.folder, SHOWN_PEOPLE), sheet)
            known = some_views(self.stored.folder, SHOWN_PEOPLE, held_out=False)
            row["psnr_known"] = compare(generator, known)["psnr"]
        row = {k: v if k in ("step", "people", "hours") else float(f"{v:.5g}") for k, v in row.items()}
        with (self.folder / "curve.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        print("  ".join(f"{k} {v}" for k, v in row.items()), flush=True)


def _assist(
    folder: Path,
    people: Path,
    settings: TrainSettings,
    config: GeneratorConfig,
    count: int,
    precision: torch.dtype,
    *place: Any,
) -> None:
    """What a process of the team does: rank, size and meeting are in `place`."""
    settle_in(place[1])
    keep_freed_memory()
    Trainer(folder, people, settings, config).assist(Team(*place), count, precision)
