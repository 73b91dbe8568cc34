"""A tiny clip, and stand-ins for the face models and the generator, so that a whole job takes a second."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch

from inverters.base import Inversion
from inverters.editing.edit import edit_presence
from inverters.generators.card import CameraRule, CropRule
from pipeline.clip import Cameras, FaceTrack
from pipeline.stages import camera, finetune, invert, track
from pipeline.stages.facts import Models

SIZE = 32
FRAMES = 8
WIDTH, HEIGHT = 96, 80


def write_clip(path: Path, frames: int = FRAMES, width: int = WIDTH, height: int = HEIGHT) -> Path:
    """A clip with a moving disc and a tone, 12 frames a second."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=12, options={"crf": "12", "bf": "0"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        audio = container.add_stream("aac", rate=16000)
        audio.layout = "mono"
        y, x = np.mgrid[:height, :width]
        for t in range(frames):
            frame = np.full((height, width, 3), 90, np.uint8)
            frame[(x - 40 - t) ** 2 + (y - 40) ** 2 < 400] = (200, 160, 130)
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = t, Fraction(1, 12)
            container.mux(video.encode(picture))
        container.mux(video.encode())
        time = np.arange(16000 * frames // 12) / 16000
        sound = av.AudioFrame.from_ndarray(
            (np.sin(2 * np.pi * 440 * time) * 8000).astype(np.int16)[None], format="s16", layout="mono"
        )
        sound.sample_rate, sound.pts = 16000, 0
        container.mux(audio.encode(sound))
        container.mux(audio.encode())
    return path


class FakeGenerator:
    """What the pipeline reads of a generator."""

    def __init__(self) -> None:
        self.config = SimpleNamespace(img_resolution=SIZE, widths=(32, 64, 32), w_dim=4)
        self.num_ws = 2
        self.card = SimpleNamespace(
            name="fake",
            fingerprint="f" * 64,
            crop_rule=CropRule(),
            camera_rule=CameraRule(),
            directions={"smile": torch.ones(4), "age": torch.ones(4)},
            parameters=(),
            landmarks3d={},
            config=self.config,
        )


MISFIT = 0.02
"""By how much a reconstruction is too bright; no fit is perfect."""


@dataclass
class Fakes:
    """How often each stand-in was asked, and knobs for the tests."""

    calls: Counter[str] = field(default_factory=Counter)
    no_face: tuple[int, ...] = (3,)
    interpolated: tuple[int, ...] = (5,)
    fail_in: str = ""
    last_render: int | None = None
    """Rows rendered after which the job is interrupted."""
    covered: int = 4
    """Pixels of a side of the corner that the second field takes, of SIZE // 2."""
    error: BaseException = field(default_factory=KeyboardInterrupt)
    checkpoints: list[Path] = field(default_factory=list)
    begun_at: Inversion | None = None
    """What the last inversion began at."""
    crops: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    crops_of: dict[float, torch.Tensor] = field(default_factory=dict)
    """The crops of each inversion, by the sum of its codes."""
    held: int = 1
    """Frames for which the clip shows the same picture."""

    def count(self, name: str) -> None:
        self.calls[name] += 1
        if name == self.fail_in:
            raise self.error

    def track(self, clip: Any, settings: Any, on_frame: Any = None, model: Any = None) -> FaceTrack:
        self.count("track")
        ring = np.linspace(0, 2 * np.pi, 68, endpoint=False)
        count = len(clip)
        status = np.full(count, 2, np.uint8)
        status[list(self.no_face)] = 0
        status[list(self.interpolated)] = 1
        circle = np.stack([40 + 14 * np.cos(ring), 40 + 14 * np.sin(ring)], -1)
        five = {
            36: (34, 34),
            39: (38, 34),
            42: (44, 34),
            45: (48, 34),
            30: (41, 40),
            48: (36, 48),
            54: (46, 48),
        }
        for index, point in five.items():
            circle[index] = point
        number = settings.face[0].number if settings.face else 0
        landmarks = np.repeat(circle[None], count, 0).astype(np.float32) + np.float32([28 * number, 0])
        landmarks[status == 0] = np.nan
        for t in range(count):
            if on_frame is not None:
                on_frame(t + 1, count)
        mesh = np.full((count, 478, 2), np.nan, np.float32)
        return FaceTrack(landmarks, mesh, status, "fake", np.arange(count) // self.held * self.held)

    def cameras(self, found: FaceTrack, *rest: Any) -> Cameras:
        self.count("camera")
        poses = np.repeat(np.eye(4, dtype=np.float32)[None], len(found.status), 0)
        poses[:, 1, 1] = poses[:, 2, 2] = -1
        poses[:, 2, 3] = 2.7
        lens = np.array([[4.2647, 0, 0.5], [0, 4.2647, 0.5], [0, 0, 1]], np.float32)
        intrinsics = np.repeat(lens[None], len(found.status), 0)
        poses[found.status == 0] = np.nan
        intrinsics[found.status == 0] = np.nan
        return Cameras(poses, intrinsics)

    def invert(
        self,
        generator: Any,
        problem: Any,
        settings: Any,
        folder: Path | None,
        on_step: Any,
        start: Inversion | None = None,
        single: bool = False,
        refined: bool = True,
    ) -> Inversion:
        self.begun_at = start
        if folder is None:
            self.count("start")
        else:
            self.checkpoints.append(folder)
            (folder / "state").write_text("half way")
            self.count("invert")
            on_step(1, 1, {"total": 0.5})
        self.crops = torch.from_numpy(np.asarray(problem.crops[np.arange(len(problem.frames))])).float()
        ws = (self.crops.mean(dim=(1, 2, 3)) / 127.5 - 1).reshape(-1, 1, 1).expand(-1, 2, 4).contiguous()
        self.crops_of[float(ws.double().sum())] = self.crops
        return Inversion(
            "in-n-out",
            "draft",
            "f" * 64,
            problem.frames,
            ws,
            history={"total": [1.0, 0.5]},
            info={"perceptual_loss": "multiscale"},
        )

    def finetune(
        self, generator: Any, problem: Any, inversion: Inversion, a: Any, b: Any, folder: Path, on_step: Any
    ) -> Inversion:
        self.count("finetune")
        return inversion

    def edit(self, ws: Any, times: Any, edits: Any, directions: Any, ease: float) -> Any:
        self.count("edit")
        amounts = [sum(e.strength * edit_presence(e, float(time), ease) for e in edits) for time in times]
        return ws + 0.2 * torch.tensor(amounts).to(ws).reshape(-1, 1, 1)


class FakeRenderer:
    """Renders each row as its crop, brighter by what is added to its code (the crop's mean), red off by
    removal."""

    def __init__(self, fakes: Fakes, inversion: Inversion) -> None:
        self.fakes, self.inversion = fakes, inversion

    def render(self, rows: Any, cam2world: Any, intrinsics: Any, ws: Any = None, **how: Any) -> Any:
        if self.fakes.calls["render"] == self.fakes.last_render:
            raise KeyboardInterrupt
        self.fakes.calls["render"] += len(rows)
        codes = self.inversion.ws[rows] if ws is None else ws
        crops = self.fakes.crops_of.get(float(self.inversion.ws.double().sum()), self.fakes.crops)
        own = crops[rows].mean(dim=(1, 2, 3)) / 127.5 - 1
        added = (codes.mean(dim=(1, 2)) - own).reshape(-1, 1, 1, 1)
        image = crops[rows].permute(0, 3, 1, 2) / 127.5 - 1 + added + MISFIT
        if how.get("remove_occluder"):
            image[:, 0] = -0.5
        blend = torch.zeros(len(rows), 1, SIZE // 2, SIZE // 2)
        blend[..., : self.fakes.covered, : self.fakes.covered] = 0.9
        raw = torch.nn.functional.avg_pool2d(image, 2)
        return SimpleNamespace(image=image, image_raw=raw, blend=blend)


def install(monkeypatch: pytest.MonkeyPatch) -> Fakes:
    """Put the stand-ins in the place of the models."""
    fakes = Fakes()
    editing = ModuleType("inverters.editing.edit")
    editing.edit_codes = fakes.edit  # type: ignore[attr-defined]
    editing.edit_inversion = lambda _, found, *how: editing.edit_codes(found.ws, *how)  # type: ignore[attr-defined]
    editing.edit_presence = edit_presence  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "inverters.editing.edit", editing)
    monkeypatch.setattr(track, "track", fakes.track)
    monkeypatch.setattr(camera, "estimate_cameras", fakes.cameras)
    monkeypatch.setattr(invert, "invert", fakes.invert)
    monkeypatch.setattr(finetune, "finetune", fakes.finetune)
    monkeypatch.setattr(Models, "generator", FakeGenerator())
    monkeypatch.setattr(Models, "precision", "float32")
    monkeypatch.setattr(Models, "renderer", lambda self, inversion: FakeRenderer(fakes, inversion))
    return fakes
