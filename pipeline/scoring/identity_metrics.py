"""Identity metrics: cosine similarity, TL-ID and TG-ID, by a face recognition network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.clip import F32, F64, I64, U8, Status
from pipeline.faces.identity import FaceEmbedder
from pipeline.report.manifest import JobResult
from pipeline.samples.truth import Truth, frames_of
from pipeline.scoring.frame_metrics import output
from pipeline.video.warp import warp_points


def identity_metrics(
    job: JobResult, truth: Truth, source: Path | None, embedder: FaceEmbedder
) -> dict[str, float | None]:
    """Mean cosines of reconstruction and edit, TL-ID and TG-ID of the edited video (STIT, section 5).

    Over the frames in which a face was found. All faces are aligned by the landmarks of the input: none of
    these outputs moves the face.
    """
    found: dict[str, float | None] = dict.fromkeys(
        ("identity_reconstruction", "identity_edit", "tl_id", "tg_id")
    )
    faces = _faces(job)
    if faces is None:
        return found
    rows, frames, landmarks, inside = faces

    def embedded(images: npt.NDArray[Any] | None) -> F32 | None:
        return None if images is None else embedder.embed((images[row] for row in rows), inside)

    given, plain, edited = (
        embedded(images)
        for images in (job.array("align/crops"), job.shown("reconstruction"), job.array("edit/edited/images"))
    )
    found["identity_reconstruction"] = _similarity(plain, given)
    found["identity_edit"] = _similarity(edited, plain)
    video = output(job, "edited")
    if video is not None and source is not None and len(frames):
        pair = [embedder.embed(_chosen(v, truth, frames), landmarks[frames]) for v in (video, source)]
        found["tl_id"], found["tg_id"] = _temporal(pair[0], pair[1], frames)
    return found


def crop_identity(job: JobResult, embedder: FaceEmbedder) -> float | None:
    """Mean cosine between reconstructed crops and the input's; None where the job has no such crops."""
    faces = _faces(job)
    plain, given = job.shown("reconstruction"), job.array("align/crops")
    if faces is None or plain is None or given is None:
        return None
    rows, _, _, inside = faces
    pair = [embedder.embed((images[row] for row in rows), inside) for images in (plain, given)]
    return _similarity(pair[0], pair[1])


def _faces(job: JobResult) -> tuple[I64, I64, F32, list[F64]] | None:
    """Rows of the crops with a face found, their frames, all landmarks, and the rows' landmarks in crops."""
    landmarks, status, affine, rows_of = (
        job.array(n) for n in ("track/landmarks", "track/status", "align/affine", "align/frames")
    )
    if landmarks is None or status is None or affine is None or rows_of is None:
        return None
    rows = np.flatnonzero(status[rows_of] == Status.FOUND)
    frames: I64 = rows_of[rows].astype(np.int64)
    return rows, frames, landmarks, [warp_points(landmarks[t], affine[t]) for t in frames]


def _chosen(video: Path, truth: Truth, frames: I64) -> Iterator[U8]:
    """Yield the frames of a video with these indices."""
    wanted = set(frames.tolist())
    for index, frame in enumerate(frames_of(video, truth.size)):
        if index in wanted:
            yield frame


def _similarity(one: F32 | None, two: F32 | None) -> float | None:
    """Mean cosine of embeddings [K,D]."""
    if one is None or two is None or not len(one):
        return None
    import torch

    from inverters.metrics import identity_similarity

    return float(identity_similarity(torch.from_numpy(one), torch.from_numpy(two)).mean())


def _temporal(edited: F32, source: F32, frames: I64) -> tuple[float | None, float | None]:
    import torch

    from inverters.metrics import temporal_identity

    return temporal_identity(torch.from_numpy(edited), torch.from_numpy(source), frames.tolist())
