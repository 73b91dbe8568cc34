"""Stage `report`: manifest and page, and every output in its place at once."""

from __future__ import annotations

import time
from typing import Any

from pipeline.report.manifest import (
    MANIFEST,
    FaceRecord,
    JobRecord,
    build_manifest,
    curves,
    files_of,
    write_manifest,
)
from pipeline.report.output_folder import OutputFolder
from pipeline.request.face_settings import faces_of
from pipeline.request.settings import Settings
from pipeline.stages import align, camera, decode, track
from pipeline.stages.problem import refined
from pipeline.stages.run import StageRun
from pipeline.stages.smooth import shown_inversion, shown_name, shown_result
from pipeline.stages.stage import Stage, global_name
from storage import file_hash


def load(run: StageRun) -> dict[str, Any]:
    """Put the outputs, the report and the manifest into the output folder; returns the manifest.

    Files of an earlier job that this one does not make again go. Raises OutputError where the folder
    cannot be written; then nothing in it has changed.
    """
    from pipeline.report.page import report

    journal, found = run.journal, run.of(track.STAGE)
    cameras = refined(run.of(camera.STAGE), shown_inversion(run), found)
    with OutputFolder(run.out) as folder:
        outputs, hashes = {}, {}
        for name in run.needs:
            if name.startswith("encode/"):
                for path, digest in run.hooks.value(name).files:
                    folder.copy(path, path.name)
                    outputs[path.stem], hashes[path.stem] = path.name, digest
        outputs["report"] = "report.html"
        record = _record(run)
        record.outputs, record.hashes = outputs, hashes
        began = time.monotonic()
        manifest = build_manifest(record)
        drawn = curves(record, manifest, cameras)
        page = report(manifest, drawn, folder.draft, clip=record.clip, crops=run.of(align.STAGE))
        record.hashes = hashes | {"report": file_hash(page)}
        own = journal.times[run.kind]
        own.seconds = time.monotonic() - began
        final = build_manifest(record)
        own.seconds = 0.0
        write_manifest(folder.draft / MANIFEST, final)
        folder.publish(last=[MANIFEST], replaces=files_of(run.out))
    return final


def _record(run: StageRun) -> JobRecord:
    """What the job has gathered."""
    places = range(len(faces_of(run.settings)))
    card, journal = run.models.generator.card, run.journal
    return JobRecord(
        path=run.video,
        clip=run.of(decode.STAGE),
        track=run.of(track.STAGE),
        settings=run.settings,
        generator={"name": card.name, "fingerprint": card.fingerprint},
        device=run.models.device,
        renderer=run.models.renderer_name,
        precision=run.models.precision,
        cache_root=journal.cache_root,
        stages=list(journal.times.values()),
        results=journal.results,
        notes=journal.notes,
        request=journal.request(),
        faces=[
            FaceRecord(
                face=faces_of(run.settings)[place],
                track=run.hooks.in_face(place).of(track.STAGE),
                measured=shown_result(run.hooks.in_face(place)),
            )
            for place in places
        ],
    )


def stages(settings: Settings, files: tuple[str, ...], faces: int = 1) -> list[Stage[dict[str, Any]]]:
    """The last stage of every request.

    files: names of the stages whose videos it publishes; faces: how many are asked for.
    """
    of_face = ("track", "align", "camera", shown_name(settings))
    needs = ["decode", *(global_name(name, place) for place in range(faces) for name in of_face), *files]
    return [Stage("report", version=1, load=load, unkeyed=("*",), needs=tuple(needs), face=None)]
