"""`invid sample`: write a synthetic talking clip, and the truth about it."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import Annotated

from pipeline.commands.guard import say
from pipeline.errors import UserError, shortened
from pipeline.request.edits import View, parse_view
from pipeline.request.fields import Option
from pipeline.samples.settings import FPS, SECONDS, SEEDS, YAWS, SampleSettings

_DEFAULT = SampleSettings()


def run(
    out: Annotated[Path, Option(metavar="OUT.mp4")],
    /,
    *,
    occluder: Annotated[str, Option(metavar="NAME")] = _DEFAULT.occluder,
    seconds: Annotated[float, Option(least=SECONDS[0], most=SECONDS[1])] = _DEFAULT.seconds,
    fps: Annotated[float, Option(least=FPS[0], most=FPS[1])] = _DEFAULT.fps,
    yaw: Annotated[float, Option(metavar="RADIANS", least=YAWS[0], most=YAWS[1])] = _DEFAULT.yaw,
    seed: Annotated[int, Option(least=SEEDS[0], most=SEEDS[1])] = _DEFAULT.seed,
    attributes: Annotated[str, Option(metavar="A,B")] = ",".join(_DEFAULT.attributes),
    view: Annotated[tuple[str, ...] | None, Option(metavar="yaw=Y,pitch=P", default="yaw=0.3")] = None,
    size: Annotated[str, Option(metavar="WxH")] = "{}x{}".format(*_DEFAULT.size),
) -> int:
    """Write a synthetic clip of a talking person behind an occluder, and the truth about it.

    Args:
        out: The clip; its truth goes to OUT.truth/ beside it.
        occluder: mask, hand, sunglasses, paint, microphone, hat, scarf, glass or none.
        seconds: Length of the clip.
        fps: Frames a second.
        yaw: The widest turn of the head to either side.
        seed: Chooses the person, its motion and the occluder.
        attributes: What the truth also shows changed, or none.
        view: Where the truth is also seen from, in radians, or none; may be given several times.
        size: Size of the frames in pixels.
    """
    settings = settings_of(occluder, seconds, fps, yaw, seed, attributes, view, size)
    from pipeline.samples.sample import check_settings, write_sample

    check_settings(settings)
    started = time.monotonic()

    def show(done: int, total: int) -> None:
        left = (time.monotonic() - started) / done * (total - done)
        end = "\n" if done == total else ""
        print(f"\rframe {done}/{total}, about {left:.0f} s left   ", end=end, file=sys.stderr, flush=True)

    folder = write_sample(out, settings, show)
    say(f"{out} and its truth in {folder}", sys.stderr)
    return 0


def settings_of(
    occluder: str,
    seconds: float,
    fps: float,
    yaw: float,
    seed: int,
    attributes: str,
    view: tuple[str, ...] | None,
    size: str,
) -> SampleSettings:
    """The options as settings. Raises UserError for a size or a view that cannot be read."""
    sides = re.fullmatch(r"([0-9]{1,9})x([0-9]{1,9})", size.lower())
    if sides is None:
        raise UserError(f"--size must look like 384x288, not '{shortened(size)}'")
    names = [name.strip() for name in attributes.split(",") if name.strip()]
    return SampleSettings(
        occluder=occluder,
        seconds=seconds,
        fps=fps,
        yaw=yaw,
        seed=seed,
        attributes=() if names == ["none"] else tuple(dict.fromkeys(names)),
        size=(int(sides[1]), int(sides[2])),
        views=_DEFAULT.views if view is None else _views(view),
    )


def _views(words: tuple[str, ...]) -> tuple[View, ...]:
    """Each view once."""
    return tuple(dict.fromkeys(parse_view(word) for word in words if word.strip() != "none"))
