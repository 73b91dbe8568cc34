"""`invid` and `process-video`: the table of commands."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from pipeline.commands.guard import fail, guarded


class Command(NamedTuple):
    """A row of the table: one line of help, and the module with `run` or `ACTIONS`."""

    summary: str
    module: str


COMMANDS = {
    "process": Command("edit the face in a clip (the same as process-video)", "pipeline.commands.process"),
    "plan": Command(
        "what process would do, what is cached, and what the rest costs", "pipeline.commands.plan"
    ),
    "sample": Command("write a synthetic talking clip, and the truth about it", "pipeline.commands.sample"),
    "score": Command("compare a result with the truth of a synthetic clip", "pipeline.commands.score"),
    "bench": Command("every method on the same clips, judged against their truth", "pipeline.commands.bench"),
    "directions": Command("find, list and show directions of edits", "pipeline.commands.directions"),
    "calibrate": Command("find a generator's landmarks and crop rule, once", "pipeline.commands.calibrate"),
    "watch": Command("process every clip that is put into a folder", "pipeline.commands.watch"),
    "process-folder": Command(
        "hand a folder of clips to Prefect's workers", "pipeline.commands.process_folder"
    ),
    "serve": Command("run jobs through Prefect on this machine", "pipeline.commands.serve"),
    "cache": Command("what the cache holds; check it, make room in it", "pipeline.commands.cache"),
    "doctor": Command("what is installed and found, for a bug report", "pipeline.commands.doctor"),
    "completion": Command("completion of commands and options in a shell", "pipeline.commands.completion"),
    "bake-people": Command(
        "make the mesh of the bundled world's people again", "pipeline.commands.bake_people"
    ),
    "train-generator": Command("train the bundled generator", "pipeline.commands.train_generator"),
    "train-encoder": Command(
        "train a network that tells a generator's codes from a picture", "pipeline.commands.train_encoder"
    ),
    "train-judge": Command(
        "train the network that measures edits of the bundled generator", "pipeline.commands.train_judge"
    ),
    "train-face-embedding": Command(
        "train the network that tells the faces of a clip apart", "pipeline.commands.train_face_embedding"
    ),
    "train-landmark-judge": Command(
        "fit the map from landmarks that measures its expressions", "pipeline.commands.train_landmark_judge"
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """The console command `invid`; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: _main(words))


def _main(words: Sequence[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(usage(), end="")
        return 0 if words else 2
    if words[0] == "--version":
        from importlib.metadata import version

        print(f"invid {version('invid')}")
        return 0
    if words[0] not in COMMANDS:
        return fail(f"unknown command '{words[0]}'; known: {', '.join(COMMANDS)}", 2)
    return start(words[0], words[1:], f"invid {words[0]}")


def process_video(argv: Sequence[str] | None = None) -> int:
    """The console command `process-video`; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: start("process", words, "process-video"))


def start(name: str, words: Sequence[str], prog: str) -> int:
    """Run a command of the table; returns its exit code. Raises what the command raises, and HelpShown."""
    from pipeline.request.command_line import call, call_one

    module: Any = importlib.import_module(COMMANDS[name].module)
    if hasattr(module, "ACTIONS"):
        return int(call_one(module.ACTIONS, words, prog, module.__doc__))
    return int(call(module.run, words, prog))


def usage() -> str:
    """The help text of `invid`."""
    width = max(map(len, COMMANDS)) + 2
    rows = [f"  {name:<{width}}{command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "Usage: invid COMMAND ...",
            "",
            "Edit faces in video by 3D GAN inversion, even behind a mask, glasses or a hand.",
            "",
            *rows,
            "",
            "`invid COMMAND --help` has the options of each.",
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
