"""`invid serve`: run jobs through Prefect on this machine."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated

from pipeline.errors import UserError
from pipeline.request.fields import Option


def run(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Option(metavar="N", least=1, most=65535)] = 4200,
    api: Annotated[str | None, Option(metavar="URL")] = None,
    workers: Annotated[
        int | None, Option(metavar="N", least=0, most=256, default="one for each GPU, or one")
    ] = None,
    watch: Annotated[tuple[tuple[Path, Path], ...], Option(metavar="IN OUT")] = (),
    every: Annotated[float, Option(metavar="SECONDS", least=1, most=10**6)] = 60.0,
    home: Annotated[Path | None, Option(metavar="DIR", default="~/.cache/invid/service")] = None,
) -> int:
    """Run jobs through Prefect on this machine: server, pools, deployments, workers and automations.

    Each is a process of its own, started again when it dies, and taken down with Ctrl-C.

    example: invid serve --watch IN OUT

    Args:
        host: Address that the server listens on.
        port: Port that the server listens on.
        api: A server that runs elsewhere; only workers are started here.
        workers: Workers on the processors, instead of one for each GPU.
        watch: Look at the folder IN for clips; results go to OUT/CLIP/. May be given several times.
        every: Time between two looks at a folder.
        home: Folder of the database and the logs.
    """
    from pipeline.job.caches import default_cache

    for folder, _ in watch:
        if not folder.is_dir():
            raise UserError(f"{folder}: there is no such folder to watch")
    watched = [(folder.resolve(), out.resolve()) for folder, out in watch]
    home = (home or default_cache() / "service").resolve()
    # By name: flows stand above the pipeline, and Prefect is loaded for nothing else.
    serve = importlib.import_module("flows.serve")
    service = serve.Service(host, port, home, home / "logs", serve.say, api, watched, every)
    return int(serve.serve(service, workers))
