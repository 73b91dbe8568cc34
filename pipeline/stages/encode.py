"""Last stage but one: frames become a file with the source's times, size and sound."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.clip import U8, Clip
from pipeline.request.settings import EncodeSettings
from pipeline.video.probe import OnFrame
from pipeline.video.writer import VideoWriter


@dataclass(frozen=True)
class EncodedFile:
    """A file that was written: its number of frames, and notes on what differs from the source."""

    path: Path
    frames: int
    notes: tuple[str, ...]


def encode(
    frames: Iterable[U8],
    clip: Clip,
    path: Path,
    settings: EncodeSettings,
    comment: str,
    indices: Sequence[int] | None = None,
    on_frame: OnFrame | None = None,
) -> EncodedFile:
    """Write frames (uint8 [H,W,3] RGB, any one size) to `path` at the clip's own times, with its sound.

    frames: as many as the clip has, or as `indices` (source frame numbers, increasing) where only some are
    written. comment: what the file's metadata says, such as that it was edited, and with what. The ending of
    `path` chooses the container. Raises OutputError (not writable, disk full), UserError (codec unknown or
    not for this ending), ValueError (another number or size of frames). On any error, Ctrl-C too, no file is
    left.
    """
    source = iter(frames)
    first = next(source, None)
    if first is None:
        raise ValueError("there are no frames to write")
    size = (first.shape[1], first.shape[0])
    with VideoWriter(path, clip, size, settings, comment, indices) as writer:
        writer.write(first)
        if on_frame is not None:
            on_frame(writer.written)
        for frame in source:
            writer.write(frame)
            if on_frame is not None:
                on_frame(writer.written)
    return EncodedFile(path, writer.written, tuple(writer.notes))
