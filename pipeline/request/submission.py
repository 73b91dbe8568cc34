"""`process-video --submit`: the same request, for a worker of a Prefect deployment to run."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.watch.watcher import Deployment

_PATHS = ("occluder_masks", "cameras", "directions")
_OWN = ("input", "out", "submit", "json", "quiet", "debug", "help")


def words_of(args: argparse.Namespace, parser: argparse.ArgumentParser) -> list[str]:
    """The options that differ from the defaults, as words that mean the same in any folder."""
    words: list[str] = []
    for action in parser._actions:
        value = getattr(args, action.dest, None)
        if action.dest in _OWN or value == action.default or not action.option_strings:
            continue
        option = action.option_strings[-1]
        if value is True:
            words.append(option)
            continue
        for one in value if isinstance(value, list) else [value]:
            words.append(f"{option}={_absolute(action.dest, str(one))}")
    return words


def _absolute(name: str, value: str) -> str:
    if name in _PATHS or (name == "generator" and value != "bundled"):
        return str(Path(value).absolute())
    if name == "cache" and "://" not in value:
        return str(Path(value).absolute())
    if value.startswith("3ddfa:"):
        return f"3ddfa:{Path(value.removeprefix('3ddfa:')).absolute()}"
    return value


def submit(args: argparse.Namespace, parser: argparse.ArgumentParser, out: Path) -> str:
    """Hand the request to the deployment that --submit names; returns the run's name and id.

    Raises UserError where there is no server or no such deployment.
    """
    return str(
        _flows().submit_request(args.submit, args.input.absolute(), out.absolute(), words_of(args, parser))
    )


def deployment_of(name: str) -> Deployment:
    """The deployment of this name, for a watcher to hand clips to."""
    found: Deployment = _flows().PrefectDeployment(name)
    return found


def _flows() -> Any:
    """By name: flows stand above the pipeline, and Prefect is loaded for this alone."""
    return importlib.import_module("flows.submit")
