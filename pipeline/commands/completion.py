"""`invid completion`: a script with which a shell completes commands, options and their values."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Annotated, Any

from pipeline.commands.__main__ import COMMANDS
from pipeline.errors import UnknownNameError
from pipeline.request.command_line import app_of, group_app
from pipeline.request.fields import Option

if TYPE_CHECKING:
    from cyclopts import App

SHELLS = ("bash", "zsh", "fish")


def run(shell: Annotated[str, Option(metavar="bash|zsh|fish")], /) -> int:
    """Print a script with which a shell completes commands, options and their values.

    It is for the shell's startup file.

    example: eval "$(invid completion bash)"

    Args:
        shell: The shell.
    """
    if shell not in SHELLS:
        raise UnknownNameError(f"unknown shell '{shell}'; known: {', '.join(SHELLS)}")
    for app in (_invid(), _app("process", "process-video")):
        print(app.generate_completion(shell=shell))  # type: ignore[arg-type]
    return 0


def _invid() -> App:
    """All commands as one App."""
    app = group_app({}, "invid", "Edit faces in video by 3D GAN inversion.")
    for name in COMMANDS:
        app.command(_app(name, name), name=name)
    return app


def _app(name: str, prog: str) -> App:
    module: Any = importlib.import_module(COMMANDS[name].module)
    if hasattr(module, "ACTIONS"):
        return group_app(module.ACTIONS, prog, COMMANDS[name].summary)
    return app_of(module.run, prog, COMMANDS[name].summary, describe=True)
