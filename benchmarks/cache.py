"""Throughput of the stage cache in megabytes of pixels a second.

    python -m benchmarks.cache [--frames 200] [--size 512] [--folder DIR] [--out FILE]

Frames are a gradient with sensor noise. Writing ends when the result is published and synced to disk. Reading
is frame by frame, in order and at random, from the page cache. For comparison numpy writes and reads the same
frames uncompressed, without a sync.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.report import report
from pipeline.machine import machine
from storage import StageCache

Frames = npt.NDArray[np.uint8]


def made(frames: int, size: int) -> Frames:
    """uint8 [T,H,W,3]."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(30, 220, size)
    plain = np.broadcast_to((ramp[:, None] * 0.6 + ramp[None] * 0.4)[..., None], (size, size, 3))
    return np.stack(
        [(plain + rng.normal(0, 3, plain.shape)).clip(0, 255).astype(np.uint8) for _ in range(frames)]
    )


def rates(pixels: Frames, folder: Path) -> dict[str, float]:
    """One round: seconds of each way."""
    cache = StageCache(folder)
    order = np.random.default_rng(1).permutation(len(pixels))
    found: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = work()
        found[name] = time.perf_counter() - began
        return result

    def write() -> Any:
        with cache.begin("frames-1") as writer:
            array = writer.array("frames", pixels.shape, np.uint8)
            for frame in pixels:
                array.write(frame[None])
            return writer.publish()

    result = timed("write", write)
    stored = result.arrays["frames"]
    timed("read in order", lambda: [stored[int(k)][0, 0, 0] for k in range(len(pixels))])
    timed("read at random", lambda: [stored[int(k)][0, 0, 0] for k in order])
    timed("verify", result.verify)
    timed("numpy write", lambda: np.save(folder / "plain.npy", pixels))
    timed("numpy read", lambda: np.load(folder / "plain.npy"))
    result.close()
    cache.remove("frames-1")
    (folder / "plain.npy").unlink()
    return found


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="on the disk to be measured (a temporary one)")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    args = parser.parse_args()
    pixels = made(args.frames, args.size)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        rates(pixels[:8], Path(folder))  # what loads at first use is not counted
        rounds = [rates(pixels, Path(folder)) for _ in range(args.repeats)]
    megabytes = pixels.nbytes / 1e6
    medians = {name: round(megabytes / statistics.median(r[name] for r in rounds), 1) for name in rounds[0]}
    shape = {"frames": args.frames, "size": args.size}
    report({"machine": machine(), **shape, "megabytes_per_second": medians}, args.out)


if __name__ == "__main__":
    main()
