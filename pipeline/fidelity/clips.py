"""Clips of the benchmark: synthetic ones, and the user's own, each with its truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from inverters.people.occluders import OCCLUDERS
from pipeline.errors import UserError
from pipeline.request.edits import Edit, View
from pipeline.samples.sample import write_sample
from pipeline.samples.settings import SampleSettings
from pipeline.samples.truth import Truth, load_truth
from pipeline.samples.truth_format import truth_folder

IDENTITIES = 2
"""Most people behind each occluder."""
FRAMES, QUICK_FRAMES, RATE = 24, 8, 12.0


@dataclass(frozen=True, eq=False)
class BenchClip:
    """A clip, and the edit and the view that jobs are asked for: those that its truth has."""

    name: str
    video: Path
    truth: Truth
    edit: Edit | None
    view: View | None

    @property
    def words(self) -> list[str]:
        """Options of `process-video`."""
        edit, view = self.edit, self.view
        found = [] if edit is None else ["--edit", f"{edit.name}={edit.strength:g}"]
        found += [] if view is None else ["--view", f"yaw={view.yaw:g},pitch={view.pitch:g}"]
        return [*found, "--remove-occluder"]


@dataclass(frozen=True)
class MadeClip:
    """A synthetic clip; the same seed makes the same clip."""

    occluder: str
    seed: int
    frames: int

    @property
    def name(self) -> str:
        """File name without suffix."""
        return f"{self.occluder}_{self.seed}"

    @property
    def settings(self) -> SampleSettings:
        """Settings of the synthetic clip."""
        return SampleSettings(
            occluder=self.occluder,
            seconds=self.frames / RATE,
            fps=RATE,
            seed=self.seed,
            attributes=("smile",),
        )


def made_clips(seed: int, quick: bool, people: int = IDENTITIES) -> list[MadeClip]:
    """Each occluder in front of 1 or 2 people; `quick`: two clips, two people behind two occluders.

    Seed s takes people 100 s + 1, 100 s + 2, ... Raises UserError for a seed out of range.
    """
    if not 0 <= seed < 2**24:
        raise UserError(f"--seed must be between 0 and {2**24 - 1}, not {seed}")
    frames = QUICK_FRAMES if quick else FRAMES
    found = [
        MadeClip(name, 100 * seed + 1 + IDENTITIES * place + identity, frames)
        for identity in range(IDENTITIES)
        for place, name in enumerate(OCCLUDERS)
    ]
    return [found[0], found[len(OCCLUDERS) + 1]] if quick else found[: people * len(OCCLUDERS)]


def make(clip: MadeClip, folder: Path, on_frame: Callable[[int, int], None]) -> BenchClip:
    """Render the clip into `folder`, unless an earlier run did."""
    video = folder / f"{clip.name}.mp4"
    if not _is_there(video, clip):
        write_sample(video, clip.settings, on_frame)
    return open_clip(video)


def _is_there(video: Path, clip: MadeClip) -> bool:
    """True where an earlier run has made this clip."""
    try:
        truth = load_truth(video)
    except UserError:
        return False
    settings = clip.settings
    return video.is_file() and (truth.frames, truth.size) == (settings.frames, settings.size)


def open_clip(video: Path) -> BenchClip:
    """Open a clip with its truth beside it, as `invid sample` writes them. Raises UserError."""
    if not video.is_file():
        raise UserError(f"{video}: there is no such clip")
    truth = load_truth(truth_folder(video))
    edit = next((Edit(name, known.strength) for name, known in truth.edits.items()), None)
    view = next((View(known.yaw, known.pitch) for known in truth.views), None)
    return BenchClip(video.stem, video, truth, edit, view)


def given_clips(folders: Sequence[Path]) -> list[BenchClip]:
    """Open the clips in the user's folders, or single clips. Raises UserError where a truth is missing."""
    found: list[BenchClip] = []
    for folder in folders:
        if not folder.exists():
            raise UserError(f"{folder}: there is no such folder of clips")
        videos = sorted(folder.glob("*.mp4")) if folder.is_dir() else [folder]
        if not videos:
            raise UserError(f"{folder}: holds no clips; give a folder of .mp4 that `invid sample` wrote")
        found += [open_clip(video) for video in videos]
    names = [clip.name for clip in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"two clips are named '{twice}'; rename one of them and its .truth folder")
    return found
