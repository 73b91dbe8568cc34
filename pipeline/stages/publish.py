"""Stage `report` of a job: manifest and page, and every output in its place at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from pipeline.job.finished import request_of
from pipeline.report.manifest import MANIFEST, JobRecord, build_manifest, curves, files_of, write_manifest
from pipeline.report.output_folder import OutputFolder
from storage import file_hash

if TYPE_CHECKING:
    from pipeline.job.walker import Job


def publish(job: Job) -> dict[str, Any]:
    """Put the outputs, the report and the manifest into the job's --out folder; returns the manifest.

    Files of an earlier job that this one does not make again go. Raises OutputError where the folder
    cannot be written; then nothing in it has changed.
    """
    from inverters.rendering.backends import picked
    from pipeline.report.page import report

    with OutputFolder(job.out) as folder:
        outputs, hashes = {}, {}
        for name, (file, digest) in job.files.items():
            folder.copy(file, file.name)
            outputs[name], hashes[name] = file.name, digest
        outputs["report"] = "report.html"
        record = JobRecord(
            path=job.path,
            clip=job.clip,
            track=job.track,
            settings=job.settings,
            generator={"name": job.generator.card.name, "fingerprint": job.generator.card.fingerprint},
            device=job.device,
            renderer=picked(job.device.partition(":")[0], job.generator.config.widths),
            cache_root=job.cache.root,
            stages=list(job.times.values()),
            results=job.results,
            outputs=outputs,
            hashes=hashes,
            notes=job.notes,
            request=request_of(job.path, job.settings),
        )
        began = time.monotonic()
        manifest = build_manifest(record)
        page = report(manifest, curves(record, manifest, job.cameras), folder.draft)
        record.hashes = hashes | {"report": file_hash(page)}
        record.stages[-1].seconds = time.monotonic() - began
        final = build_manifest(record)
        record.stages[-1].seconds = 0.0
        write_manifest(folder.draft / MANIFEST, final)
        folder.publish(last=[MANIFEST], replaces=files_of(job.out))
    return final
