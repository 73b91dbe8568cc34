"""Read the truth that `invid sample` writes beside a clip (docs/formats.md)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from inverters.generators.small_files import read_json
from pipeline.clip import F32, F64, U8
from pipeline.errors import UserError, shortened
from pipeline.pictures import opened
from pipeline.samples.truth_format import FORMAT, VERSION, truth_folder
from pipeline.video.probe import probe
from pipeline.video.reader import AvSource

_MOST_SIDE = 1 << 15
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class TrueEdit:
    """Videos with one attribute moved by `strength` standard deviations; `occluded`: None if none."""

    strength: float
    clean: Path
    occluded: Path | None


@dataclass(frozen=True)
class TrueView:
    """Videos from cameras turned by yaw and pitch (radians); occluded: None without an occluder."""

    yaw: float
    pitch: float
    clean: Path
    occluded: Path | None
    edits: dict[str, TrueEdit]


@dataclass(frozen=True)
class Truth:
    """Truth of a clip: size (W, H); cam2world [T,4,4]; affine [T,2,3], frame to crop of `crop_size` px."""

    folder: Path
    frames: int
    size: tuple[int, int]
    occluder: str | None
    cam2world: F32
    affine: F64
    crop_size: int
    clean: Path
    edits: dict[str, TrueEdit]
    masks: Path
    alpha: Path | None = None
    views: tuple[TrueView, ...] = ()

    def occluded(self, frame: int) -> Bools:
        """Mask [H,W], true on the occluder; raises UserError for a missing file."""
        return np.asarray(self._grey(self.masks, frame) < 128)

    def coverage(self, frame: int) -> F32:
        """Share [H,W] of each pixel that the occluder covers, in [0,1]; of an older truth, 0 or 1.

        Raises UserError for a missing file.
        """
        if self.alpha is None:
            return self.occluded(frame).astype(np.float32)
        return self._grey(self.alpha, frame).astype(np.float32) / 255

    def _grey(self, folder: Path, frame: int) -> U8:
        path = folder / f"{frame:06d}.png"
        try:
            with opened(path) as image:
                if image.size != self.size:
                    raise UserError(f"{path.name} has another size than the clip")
                return np.asarray(image.convert("L"))
        except UserError as error:
            raise UserError(f"{folder}: {error}; make the sample again") from None

    def inside_crop(self, frame: int) -> Bools:
        """Mask [H,W], true inside the frame's true crop."""
        width, height = self.size
        return inside(self.affine[frame], self.crop_size, width, height)


def inside(affine: F64, size: int, width: int, height: int) -> Bools:
    """Mask [H,W], true where the pixel's centre lies in the crop of `size` px made by affine [2,3]."""
    x = np.arange(width) + 0.5
    y = np.arange(height)[:, None] + 0.5
    u = affine[0, 0] * x + affine[0, 1] * y + affine[0, 2]
    v = affine[1, 0] * x + affine[1, 1] * y + affine[1, 2]
    return np.asarray((u >= 0) & (u < size) & (v >= 0) & (v < size))


def frames_of(path: Path, size: tuple[int, int]) -> Iterator[U8]:
    """Yield the frames of a video, uint8 [H,W,3]; raises UserError unless they have this size (W, H)."""
    found = probe(path)
    if found.size != size:
        raise UserError(f"{path}: is {found.size[0]}x{found.size[1]}, but the sample is {size[0]}x{size[1]}")
    yield from AvSource(path, found).frames()


def load_truth(sample: Path) -> Truth:
    """Load the truth of a clip, given as the video, the folder beside it, or truth.json.

    A file name in truth.json that leads out of its folder is refused. Raises UserError.
    """
    folder = sample.parent if sample.name == "truth.json" else sample
    if folder.suffix.lower() == ".mp4":
        folder = truth_folder(folder)
    path = folder / "truth.json"
    try:
        found = read_json(path)
    except OSError:
        raise UserError(f"{sample}: there is no {path}; give a clip that `invid sample` wrote") from None
    except ValueError as error:
        raise UserError(f"{path}: is not a sample's truth ({error}); make the sample again") from None
    try:
        return _parse(folder, found)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UserError(
            f"{path}: is not a sample's truth ({shortened(repr(error))}); make the sample again"
        ) from None


def _parse(folder: Path, found: Any) -> Truth:
    """Truth of the contents of truth.json; raises UserError, or what a wrong type raises."""
    if found.get("format") != FORMAT or found.get("version") != VERSION:
        seen = f"{found.get('format')} {found.get('version')}"
        raise UserError(f"format {shortened(seen)} is not {FORMAT} {VERSION}; make the sample again")
    frames = int(found["frames"])
    width, height = (int(side) for side in found["size"])
    cam2world = np.asarray(found["cam2world"], np.float32)
    affine = np.asarray(found["crop"]["affine"], np.float64)
    if cam2world.shape != (frames, 4, 4) or affine.shape != (frames, 2, 3):
        raise ValueError(f"{frames} frames, but cameras {cam2world.shape} and crops {affine.shape}")
    if not np.isfinite(cam2world).all() or not np.isfinite(affine).all():
        raise ValueError("a camera or a crop that is not finite")
    if (np.linalg.det(affine[:, :, :2]) == 0).any():
        raise ValueError("a crop of no size")
    crop_size = int(found["crop"]["size"])
    if not all(0 < side <= _MOST_SIDE for side in (width, height, crop_size)):
        raise ValueError(f"pictures of {width} x {height}, crops of {crop_size}")
    views = tuple(
        TrueView(
            yaw=float(view["yaw"]),
            pitch=float(view["pitch"]),
            clean=_within(folder, view["clean"]),
            occluded=_maybe_within(folder, view["occluded"]),
            edits=_edits(folder, view["edits"]),
        )
        for view in found.get("views", [])  # older truths have no views
    )
    return Truth(
        folder=folder,
        frames=frames,
        size=(width, height),
        occluder=found["occluder"],
        cam2world=cam2world,
        affine=affine,
        crop_size=crop_size,
        clean=_within(folder, found["clean"]),
        edits=_edits(folder, found["edits"]),
        masks=_within(folder, found["masks"]),
        alpha=_maybe_within(folder, found.get("alpha")),  # older truths have none
        views=views,
    )


def _edits(folder: Path, found: Any) -> dict[str, TrueEdit]:
    return {
        str(name): TrueEdit(
            strength=float(edit["strength"]),
            clean=_within(folder, edit["clean"]),
            occluded=_maybe_within(folder, edit["occluded"]),
        )
        for name, edit in found.items()
    }


def _maybe_within(folder: Path, name: Any) -> Path | None:
    return None if name is None else _within(folder, name)


def _within(folder: Path, name: Any) -> Path:
    """Path of a file in the truth's folder; raises UserError for a name that leads out of it."""
    root = folder.resolve()
    path = (root / str(name)).resolve()
    if not isinstance(name, str) or path == root or not path.is_relative_to(root):
        raise UserError(
            f"the name '{shortened(name)}' leads out of the sample's folder; it was not written by invid"
        )
    return path
