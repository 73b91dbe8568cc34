"""`invid process` and `process-video`: edit the face in a clip."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pipeline.commands.guard import INTERRUPTED, fail, guarded, say
from pipeline.request.options import Given, request_of
from pipeline.request.settings import Request


def run(video: Path, /, *, given: Given) -> int:
    """Edit the face in a video.

    Everything outside the face stays as it is; size, frame times and sound are kept. Edit people only with
    their consent.

    example: process-video clip.mp4 --edit smile=1.5 --edit glasses=1@0.5-1.2s --remove-occluder

    Args:
        video: A video, a picture, or a sequence of pictures: its folder, or shot.####.png.
        given: Options of a request.
    """
    request = request_of(video, given)
    return guarded(lambda: _process(request), request.debug)


def _process(request: Request) -> int:
    from pipeline.job.finished import already_done

    stream = sys.stderr if request.json else sys.stdout
    if request.submit is not None:
        from pipeline.request.checks import check_request
        from pipeline.request.submission import submit

        check_request(request.video, request.out, request.settings)
        say(f"submitted as {submit(request)}", stream)
        return 0
    preset = request.settings.invert.preset if request.preset_chosen else None
    manifest = already_done(request.video, request.out, request.settings, preset)
    if manifest is not None:
        if not request.quiet:
            print("nothing to do: the results of this very request are there already", file=stream)
        return _tell(request, manifest)
    return _work(request)


def _work(request: Request) -> int:
    """Run the job with progress on the terminal."""
    from pipeline.job.caches import default_cache
    from pipeline.job.progress import Progress, TextProgress
    from pipeline.report.output_folder import check_writable
    from pipeline.request.checks import check_request, with_default_preset
    from storage.errors import without_passwords

    settings, cache = request.settings, request.cache or default_cache()
    stream = sys.stderr if request.json else sys.stdout
    check_writable(request.out)  # before torch is loaded
    with Progress() if request.quiet else TextProgress(stream) as progress:
        progress.start("checking")
        progress.say(f"{request.video} -> {request.out}")
        check_request(request.video, request.out, settings)
        progress.start("loading")
        from pipeline.job.walker import Job

        if not request.preset_chosen:
            settings = with_default_preset(settings)
        job = Job(request.video, request.out, cache, settings, progress, threads=request.threads)
        try:
            manifest = job.run()
        except KeyboardInterrupt:
            progress.close()
            where = f" in stage {job.current}" if job.current else ""
            again = "give the same command again to go on from there"
            kept = f"finished stages are kept in {without_passwords(str(cache))}"
            return fail(f"interrupted{where}; {again} ({kept})", INTERRUPTED)
    return _tell(request, manifest)


def _tell(request: Request, manifest: dict[str, Any]) -> int:
    """Print the manifest or the outputs of a finished job."""
    if request.json:
        print(json.dumps(manifest, indent=1, allow_nan=False))
    elif not request.quiet:
        from pipeline.report.manifest import grouped

        for name, files in grouped(manifest["outputs"]).items():
            more = f" and {len(files) - 1} more" if len(files) > 1 else ""
            say(f"{name:<15} {request.out / files[0]}{more}")
    return 0
