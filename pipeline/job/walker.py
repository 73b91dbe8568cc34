"""One job: the stages in order, each through the cache under a key of all that it depends on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.clip import I64, Cameras, Clip, Crops, FaceTrack
from pipeline.errors import InputVideoError
from pipeline.job.caches import open_cache
from pipeline.job.device_lock import turn_on
from pipeline.job.oom_retry import Thrifty
from pipeline.job.progress import Progress
from pipeline.report.manifest import StageTime
from pipeline.report.output_folder import OutputFolder
from pipeline.request.checks import device_of
from pipeline.request.edit_names import digests_of, known_directions
from pipeline.request.edits import check_names, check_times
from pipeline.request.settings import Settings
from pipeline.stages import align as align_stage
from pipeline.stages import camera as camera_stage
from pipeline.stages import edit as edit_stage
from pipeline.stages import finetune as finetune_stage
from pipeline.stages import invert as invert_stage
from pipeline.stages import outputs, renders, videos
from pipeline.stages import track as track_stage
from pipeline.stages.publish import publish
from storage import (
    INGEST,
    CacheDamagedError,
    StageResult,
    StageWriter,
    StoredArray,
    file_hash,
    folder_hash,
    stage_key,
)
from storage.row_blocks import RowBlocks, Rows

if TYPE_CHECKING:
    from inverters.base import InversionProblem
    from inverters.editing.directions import Direction

STAGES = ("decode", "track", "align", "camera", "invert", "finetune", "edit", "composite", "encode", "report")
_DECODE_VERSION = 1
DEVICE_STAGES = ("invert", "finetune", "edit")
"""Those that run on the generator's device: one at a time on each CUDA device."""
_MOST_REPAIRS = 3


def run_job(
    path: Path, out: Path, cache: Path | str, settings: Settings, progress: Progress | None = None
) -> dict[str, Any]:
    """Run every stage on one video; results are in `out` when this returns the manifest.

    Raises UserError for a request or an input that cannot be met; then nothing is left in `out`.
    """
    return Job(path, out, cache, settings, progress or Progress()).run()


class Job:
    """The state of one job. `step(name)` runs one stage, in the order of STAGES; `run()` runs them all."""

    def __init__(
        self, path: Path, out: Path, cache: Path | str, settings: Settings, progress: Progress
    ) -> None:
        self.path, self.out, self.settings, self.progress = path, out, settings, progress
        OutputFolder(out).close()  # not writable: say so before any work
        self.notes: list[str] = []
        self.cache = open_cache(cache, self.note, path.name)
        self.results: dict[str, StageResult] = {}
        self.times: dict[str, StageTime] = {}
        self.current = self.part = self._computing = ""
        self.manifest: dict[str, Any] = {}
        self._hits: list[bool] = []

    def run(self) -> dict[str, Any]:
        """All stages; returns the manifest."""
        for name in STAGES:
            self.step(name)
        return self.manifest

    def step(self, name: str) -> None:
        """One stage. What it finds damaged in the cache is dropped and computed again."""
        for _ in range(_MOST_REPAIRS):
            try:
                return self._timed(name)
            except CacheDamagedError as error:
                self.cache.discard(error)
                for earlier in STAGES[: STAGES.index(name)]:
                    self._timed(earlier)
        self._timed(name)

    def _timed(self, name: str) -> None:
        self.current, self.part, self._hits = name, "", []
        if name == STAGES[0]:
            _ = self.directions  # an edit that is not known is named before any stage
        self.progress.start(name)
        began = time.monotonic()
        self.times[name] = StageTime(name, 0.0, False)
        getattr(self, f"_{name}")()
        stage = self.times[name]
        stage.seconds += time.monotonic() - began
        stage.cached = bool(self._hits) and all(self._hits)
        self.progress.finish(name, stage.seconds, stage.cached)

    def note(self, text: str) -> None:
        """Tell the user now, and in the manifest."""
        if text not in self.notes:
            self.notes.append(text)
            self.progress.note(text)

    def cached(self, name: str, key: str, compute: Callable[[StageWriter], None]) -> StageResult:
        """The result under `key`, from the cache or computed now; kept as `self.results[name]`."""
        self.part = name.partition("/")[2]
        found = self.cache.get(key)
        hit = found is not None
        while found is None:
            with self.cache.begin(key, self._wait) as writer:
                found = self.cache.get(key)  # it may have come while we waited
                hit = found is not None
                if found is None:
                    self._computing = key
                    with self._turn():
                        found = writer.publish() if self._thrifty.runs(lambda: compute(writer)) else None
        self._hits.append(hit)
        self.results[name] = found
        return found

    @cached_property
    def _thrifty(self) -> Thrifty:
        return Thrifty(self.device, self.note)

    def _turn(self) -> AbstractContextManager[None]:
        """The device for this job alone, in stages that use it."""
        if self.current not in DEVICE_STAGES:
            return nullcontext()
        note = f"{self.device} is used by another job; waiting for its turn"
        return turn_on(self.device, lambda: self.progress.note(note))

    def _wait(self) -> None:
        self.progress.note("another job is computing the same; waiting for its result")

    def count(self, done: int, total: int) -> None:
        """Progress in frames of the part of the stage that is being computed."""
        unit = f"frames of {self.part}" if self.part else "frames"
        self.progress.update(done, total, None, unit)

    def _resuming(self, folder: Path) -> Path:
        """Say so where a checkpoint was found; returns the folder."""
        if any(folder.iterdir()):
            self.progress.note(f"{self.current}: going on from the checkpoint of an earlier run")
        return folder

    def _steps(self, done: int, total: int, losses: dict[str, float]) -> None:
        self.progress.update(done, total, losses, "steps")
        self.cache.share_checkpoint(self._computing)

    # What the stages share

    @cached_property
    def device(self) -> str:
        """The device that the generator runs on."""
        return device_of(self.settings.device)

    @cached_property
    def generator(self) -> Any:
        """The generator, loaded once."""
        from inverters.generators.load import load_generator
        from inverters.memory import keep_freed_memory
        from inverters.rendering import backends

        keep_freed_memory()
        backends.request(self.settings.renderer)
        return load_generator(self.settings.generator, self.device)

    @cached_property
    def directions(self) -> dict[str, Direction]:
        """What edits can be called; every edit asked for is among them."""
        known = known_directions(self.generator, self.settings.edit.directions, self.note)
        check_names(self.settings.edit.edits, known)
        return known

    @property
    def usable(self) -> I64:
        """Source frames of the rows of all arrays of crops."""
        return self.track.usable

    @cached_property
    def problem(self) -> InversionProblem:
        """What the inverters are given."""
        import torch

        from inverters.base import InversionProblem
        from pipeline.request.occluder_masks import CropMasks, match_masks

        rows = self.usable
        masks = None
        if self.settings.invert.occluder_masks is not None:
            folder = Path(self.settings.invert.occluder_masks)
            files = match_masks(folder, rows, len(self.clip), self.clip.width, self.clip.height)
            masks = CropMasks(files, self.crops.affine[rows], self.crops.size)
        return InversionProblem(
            crops=self.results["align"].arrays["crops"],
            frames=rows,
            cam2world=torch.from_numpy(self.cameras.cam2world[rows]).to(self.device),
            intrinsics=torch.from_numpy(self.cameras.intrinsics[rows]).to(self.device),
            occluder_masks=masks,
        )

    def renderer(self) -> Any:
        """Renders the inversion as it is shown."""
        from inverters.fields.synthesis import InversionRenderer

        return InversionRenderer(self.generator, self.shown)

    # The stages

    def _decode(self) -> None:
        from pipeline.stages.decode import decode

        clip = decode(
            self.path,
            self.settings.decode,
            self.cache.root / INGEST,
            lambda done: self.progress.update(done, None, None, "frames"),
        )
        self.clip: Clip = clip
        if clip.path != self.path:
            self._held = self.cache.hold(clip.path)
        if clip.doubts and self.settings.strict:
            raise InputVideoError(f"{self.path}: {'; '.join(clip.doubts)} (--strict)")
        for text in (*clip.notes, *clip.doubts):
            self.note(text)
        check_times(self.settings.edit.edits, clip.duration)
        if self.settings.invert.occluder_masks is not None:
            from pipeline.request.occluder_masks import match_masks

            folder = Path(self.settings.invert.occluder_masks)
            match_masks(folder, np.zeros(0, np.int64), len(clip), clip.width, clip.height)
        settings = asdict(self.settings.decode)
        self.decode_key = stage_key("decode", _DECODE_VERSION, settings, [clip.content_hash])

    def _track(self) -> None:
        def compute(writer: StageWriter) -> None:
            found = track_stage.track(self.clip, self.settings.track, on_frame=self.count)
            writer.put("landmarks", found.landmarks)
            writer.put("dense", found.dense)
            writer.put("status", found.status)
            writer.meta["detector"] = found.detector

        key = stage_key("track", track_stage.VERSION, asdict(self.settings.track), [self.decode_key])
        result = self.cached("track", key, compute)
        arrays = {name: array.read() for name, array in result.arrays.items()}
        self.track = FaceTrack(
            arrays["landmarks"], arrays["dense"], arrays["status"], result.meta["detector"]
        )

    def _align(self) -> None:
        from pipeline.video.warp import crop_frames

        rule, size = self.generator.card.crop_rule, int(self.generator.config.img_resolution)

        def compute(writer: StageWriter) -> None:
            crops = align_stage.align(self.track, rule, size)
            pixels = writer.array("crops", (len(self.usable), size, size, 3), np.uint8)
            for row, (_, crop) in enumerate(crop_frames(self.clip, crops)):
                pixels.write(crop[None])
                self.count(row + 1, len(self.usable))
            writer.put("affine", crops.affine)
            writer.put("frames", self.usable)

        rules = {"crop_rule": asdict(rule), "size": size}
        key = stage_key("align", align_stage.VERSION, rules, [self.results["track"].key])
        result = self.cached("align", key, compute)
        self.crops = Crops(result.arrays["affine"].read(), size)

    def _camera(self) -> None:
        card, labels = self.generator.card, self.settings.camera.labels

        def compute(writer: StageWriter) -> None:
            rule, smooth = card.camera_rule, self.settings.camera
            cameras = camera_stage.find_cameras(
                self.track, self.crops, card.landmarks3d, rule, smooth, float(self.clip.rate)
            )
            writer.put("cam2world", cameras.cam2world)
            writer.put("intrinsics", cameras.intrinsics)

        rules = {
            "camera_rule": asdict(card.camera_rule),
            "smoothing": self.settings.camera.smoothing,
            "labels": None if labels is None else file_hash(Path(labels)),
            "generator": card.fingerprint,
        }
        key = stage_key("camera", camera_stage.VERSION, rules, [self.results["align"].key])
        result = self.cached("camera", key, compute)
        self.cameras = Cameras(result.arrays["cam2world"].read(), result.arrays["intrinsics"].read())
        self.__dict__.pop("problem", None)

    def _invert(self) -> None:
        from inverters.methods.table import find_method, settings_of

        settings = self.settings.invert

        def compute(writer: StageWriter) -> None:
            folder = self._resuming(self.cache.checkpoint_dir(writer.key))
            found = invert_stage.invert(self.generator, self.problem, settings, folder, self._steps)
            invert_stage.store(writer, found)

        rules = (
            asdict(settings) | invert_stage.losses_there() | {"generator": self.generator.card.fingerprint}
        )
        chosen = settings_of(find_method(settings.method), settings.preset, settings.without)
        rules["preset"] = asdict(chosen)  # its numbers, not its name
        if settings.occluder_masks is not None:
            rules["occluder_masks"] = folder_hash(Path(settings.occluder_masks))
        inputs = [self.results["align"].key, self.results["camera"].key]
        key = stage_key("invert", invert_stage.VERSION, rules, inputs)
        self.inversion = invert_stage.load(self.cached("invert", key, compute))
        self.problem = self.problem.seen_by(self.inversion.cameras)
        for name, refined in self.inversion.cameras.items():
            getattr(self.cameras, name)[self.usable] = refined.numpy()

    def _finetune(self) -> None:
        def compute(writer: StageWriter) -> None:
            folder = self._resuming(self.cache.checkpoint_dir(writer.key))
            self.tuned = self.shown = finetune_stage.finetune(
                self.generator,
                self.problem,
                self.inversion,
                self.settings.finetune,
                self.settings.invert,
                folder,
                self._steps,
            )
            invert_stage.store(writer, self.tuned)
            blocks = RowBlocks(folder)
            finetune_stage.store_reconstruction(writer, self.renderer(), self.problem, blocks, self.count)

        key = stage_key(
            "finetune",
            finetune_stage.VERSION,
            asdict(self.settings.finetune) | invert_stage.losses_there(),
            [self.results["invert"].key],
        )
        self.tuned = self.shown = invert_stage.load(self.cached("finetune", key, compute))
        if str(self.tuned.info.get("perceptual_loss", "")).startswith("multiscale"):
            self.note(
                "LPIPS has no weights in the local cache: a multi-scale loss without weights took its place"
            )

    def _edit(self) -> None:
        self.variants = edit_stage.variants(self.settings.edit)
        renders.prepare(self)
        times = self.clip.times[self.usable] - self.clip.times[0]
        size, ease = self.crops.size, self.settings.edit.ease
        for name, variant in self.variants.items():
            if variant == edit_stage.Variant():
                continue  # that is the reconstruction, which is there already
            plain = None if variant.view else videos.without_edits(self, variant)

            def compute(
                writer: StageWriter,
                variant: edit_stage.Variant = variant,
                plain: StoredArray | None = plain,
            ) -> None:
                pixels = writer.array("images", (len(self.usable), size, size, 3), np.uint8)
                what = (self.generator, self.renderer(), self.shown, self.problem, variant, times)

                def rendered(first: int) -> Iterator[Rows]:
                    for images in edit_stage.render_variant(
                        *what, self.directions, ease, plain, self.count, first
                    ):
                        yield {"images": images}

                for rows in RowBlocks(self._resuming(self.cache.checkpoint_dir(writer.key))).all(rendered):
                    pixels.write(rows["images"])

            directions = digests_of(variant.edits, self.directions)
            rules = {"variant": asdict(variant), "ease": ease, "directions": directions}
            inputs = [outputs.as_found(self).key, self.decode_key]
            self.cached(f"edit/{name}", stage_key("edit", edit_stage.VERSION, rules, inputs), compute)
        videos.store_stitched(self)
        if not self._hits:
            self._hits.append(self.times["finetune"].cached)

    def _composite(self) -> None:
        videos.store_masks(self)

    def _encode(self) -> None:
        self.files = videos.encode_all(self)

    def _report(self) -> None:
        self.manifest = publish(self)
