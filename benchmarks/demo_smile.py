"""How much of the true smile a finished job on a sample shows: `removal_edited` against `removal`.

    python -m benchmarks.demo_smile samples/mask.mp4 out/demo --blendshapes FILE

Blendshapes are read in every frame of four videos: the job's removal with and without the edit, and the true
frames without the occluder, with the smile of the truth (1.5 standard deviations) and without. `share` is the
mean change in the job over the mean true change, `frames` the share of frames that show at least 0.6 of their
own true change. `--blendshapes` is MediaPipe's face landmarker (.task); without it the map of our own reads.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import report
from pipeline.clip import F64
from pipeline.machine import machine
from pipeline.report.manifest import read_manifest
from pipeline.samples.truth import load_truth
from pipeline.scoring.blendshapes import BlendshapeReader, component, load_reader
from pipeline.video.probe import probe
from pipeline.video.reader import AvSource

ENOUGH = 0.6


def smiles(video: Path, reader: BlendshapeReader) -> F64:
    """Return the strength of the smile in each frame [T]; NaN where no face is found."""
    found = [reader.read(image) for image in AvSource(video, probe(video)).frames()]
    return np.array([np.nan if shapes is None else component(shapes, "smile") for shapes in found], float)


def measure(source: Path, results: Path, reader: BlendshapeReader) -> dict[str, Any]:
    """Compare a job's smile with the true one."""
    truth = load_truth(source)
    seen = smiles(results / "removal_edited.mp4", reader) - smiles(results / "removal.mp4", reader)
    true = smiles(truth.edits["smile"].clean, reader) - smiles(truth.clean, reader)
    both = np.isfinite(seen) & np.isfinite(true)
    return {
        "machine": machine(),
        "strength": sum(
            edit["strength"]
            for edit in read_manifest(results)["settings"]["edit"]["edits"]
            if edit["name"] == "smile"
        ),
        "true_strength": truth.edits["smile"].strength,
        "reader": reader.name,
        "enough": ENOUGH,
        "frames_read": int(both.sum()),
        "seen": round(float(seen[both].mean()), 3),
        "true": round(float(true[both].mean()), 3),
        "share": round(float(seen[both].mean() / true[both].mean()), 3),
        "frames": round(float((seen[both] >= ENOUGH * true[both]).mean()), 3),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="the sample, with its truth beside it")
    parser.add_argument("results", type=Path, help="folder of the finished job")
    parser.add_argument("--blendshapes", type=Path, metavar="FILE")
    parser.add_argument("--out", type=Path, metavar="FILE")
    args = parser.parse_args()
    report(measure(args.source, args.results, load_reader(args.blendshapes)), args.out)


if __name__ == "__main__":
    main()
