"""`invid serve`: run jobs through Prefect on this machine."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pipeline.commands.cache import size_of
from pipeline.commands.watch import submitted_fields
from pipeline.errors import UserError
from pipeline.request.fields import Expand, Option
from pipeline.request.options import request_of, to_words


def run(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Option(metavar="N", least=1, most=65534)] = 4200,
    api: Annotated[str | None, Option(metavar="URL")] = None,
    workers: Annotated[
        int | None, Option(metavar="N", least=0, most=256, default="one for each GPU, or one")
    ] = None,
    watch: Annotated[tuple[tuple[Path, Path], ...], Option(metavar="IN OUT")] = (),
    every: Annotated[float, Option(metavar="SECONDS", least=1, most=10**6)] = 60.0,
    free: Annotated[str, Option(metavar="SIZE")] = "2GB",
    keep: Annotated[str | None, Option(metavar="SIZE")] = None,
    home: Annotated[Path | None, Option(metavar="DIR", default="~/.cache/invid/service")] = None,
    status: bool = False,
    json: bool = False,
    stop: bool = False,
    given: Annotated[dict[str, Any], Expand(submitted_fields)],
) -> int:
    """Run jobs through Prefect on this machine: server, pools, deployments and workers.

    Each is a process of its own, started again when it dies, and taken down with Ctrl-C. Runs that have lost
    their process are taken up again. The options of process-video hold for the clips of --watch.

    example: invid serve --watch IN OUT --edit smile=1.5

    Args:
        host: Address that the server listens on; beyond this machine it needs Prefect's password.
        port: Port that the server listens on; results are served at the next one.
        api: A server that runs elsewhere; only workers are started here.
        workers: Workers on the processors, instead of one for each GPU.
        watch: Look at the folder IN for clips; results go to OUT/CLIP/. May be given several times.
        every: Time between two looks at a folder.
        free: Space that must be free on the disks of OUT and the cache; watched clips wait until it is.
        keep: Every hour remove the least recently used from the cache until so much is left, such as 200GB.
        home: Folder of the database and the logs; one service runs in it.
        status: Say what the service in this home does and how its runs, queues and disks are, and end.
        json: With --status: say it as JSON.
        stop: End the service in this home as Ctrl-C does.
        given: Options of process-video, for the clips of --watch.
    """
    from pipeline.job.caches import default_cache

    home = (home or default_cache() / "service").resolve()
    # By name: flows stand above the pipeline, and Prefect is loaded for nothing else.
    serve = importlib.import_module("flows.serve")
    if status or stop:
        return int(serve.homes.stop(home, serve.say) if stop else serve.homes.status(home, serve.say, json))
    if json:
        raise UserError("--json is for --status")
    if given and not watch:
        raise UserError("options of process-video hold for the clips of --watch; name a folder to watch")
    for size in filter(None, (free, keep)):
        size_of(size)
    watches = [_words(folder, out, every, free, given) for folder, out in watch]
    collect = [] if keep is None else ["--keep", keep]
    if keep is not None and given.get("cache") is not None:
        collect += ["--cache", str(given["cache"])]
    results = [out.resolve() for _, out in watch]
    service = serve.Service(host, port, home, home / "logs", serve.say, api, watches, results, collect)
    return int(serve.serve(service, workers))


def _words(folder: Path, out: Path, every: float, free: str, given: Mapping[str, Any]) -> list[str]:
    """The words of `invid watch` for one folder, which mean the same wherever they are read."""
    from pipeline.request.submission import portable

    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder to watch")
    words = to_words(portable(request_of(Path("clip"), given)))
    own = ["--out", str(out.resolve()), "--submit", f"--interval={every}", "--free", free]
    return [str(folder.resolve()), *own, *words]
