"""The plan of a job: its stages in order, made from the settings alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.request.checks import PAGES
from pipeline.request.face_settings import faces_of, settings_of_face
from pipeline.request.settings import Settings
from pipeline.stages import (
    align,
    camera,
    composite,
    decode,
    edit,
    encode,
    finetune,
    hidden,
    inset,
    invert,
    layers,
    report,
    smooth,
    stitch,
    track,
)
from pipeline.stages.facts import Facts
from pipeline.stages.stage import Stage, read_values
from storage import stage_key

_OF_FACE = (
    track,
    align,
    camera,
    invert,
    finetune,
    smooth,
    hidden,
    edit,
    inset,
    stitch,
    composite,
)
"""Modules of the stages that each face has."""
KINDS = (
    *(
        "decode",
        "track",
        "align",
        "camera",
        "start",
        "invert",
        "finetune",
        "smooth",
        "hidden",
        "edit",
        "inset",
    ),
    *("stitch", "composite", "encode", "report"),
)
"""Every kind of stage that a plan can have, in order."""


@dataclass(frozen=True)
class Plan:
    """Stages in the order in which they run: each comes after those that it needs.

    Raises ValueError for two stages of one name, and for one that comes before a stage that it needs.
    """

    stages: tuple[Stage[Any], ...]

    def __post_init__(self) -> None:
        before: set[str] = set()
        for stage in self.stages:
            if stage.name in before:
                raise ValueError(f"the plan has two stages called {stage.name}")
            if missing := [name for name in stage.needs if name not in before]:
                raise ValueError(f"stage {stage.name} needs {missing[0]}, which does not come before it")
            before.add(stage.name)

    def __iter__(self) -> Iterator[Stage[Any]]:
        return iter(self.stages)

    def __getitem__(self, name: str) -> Stage[Any]:
        """The stage of this name. Raises KeyError."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(name)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of stages in order; a job tells of its progress by kind."""
        return tuple(dict.fromkeys(stage.kind for stage in self.stages))

    @property
    def output_names(self) -> list[str]:
        """Names of the files that the job puts into its output folder."""
        videos = [stage.part for stage in self.stages if stage.kind == "encode"]
        return [*videos, *PAGES]

    def of_kind(self, kind: str) -> list[Stage[Any]]:
        """All stages of one kind, in order."""
        return [stage for stage in self.stages if stage.kind == kind]

    def with_stage(self, stage: Stage[Any]) -> Plan:
        """The same plan with one more stage: after the others of its kind, else before the report.

        Example:
            run_job(video, out, cache, settings, plan=plan_of(settings).with_stage(mine))
        """
        place = len(self.stages) - 1
        if stage.kind in self.kinds:
            place = self.stages.index(self.of_kind(stage.kind)[-1]) + 1
        return Plan((*self.stages[:place], stage, *self.stages[place:]))


def plan_of(settings: Settings) -> Plan:
    """The plan of a request: the stages of each of its faces, then one file of each output for all."""
    faces = [settings_of_face(settings, place) for place in range(len(faces_of(settings)))]
    found: list[Stage[Any]] = list(decode.stages(settings))
    for place, own in enumerate(faces):
        for module in _OF_FACE:
            found += [stage.in_face(place) for stage in module.stages(own)]
    files = [*encode.stages(faces[0], faces[1:]), *layers.stages(faces[0], faces[1:])]
    names = tuple(stage.name for stage in files)
    return Plan((*found, *files, *report.stages(faces[0], names, len(faces))))


class Keys:
    """Cache keys of a plan's stages, computed when they are asked for.

    A key is a hash of the stage's kind and version, the settings that it reads, its facts, and the keys of
    the stages that it needs.
    """

    def __init__(self, plan: Plan, facts: Facts) -> None:
        self._plan, self._facts = plan, facts
        self._found: dict[str, str] = {}
        self._faces: dict[int | None, Facts] = {None: facts}

    def _of_face(self, place: int | None) -> Facts:
        """The facts of one face, computed once; those of the whole request for None."""
        if place not in self._faces:
            self._faces[place] = self._facts.of_face(place or 0)
        return self._faces[place]

    def __getitem__(self, name: str) -> str:
        if name not in self._found:
            stage = self._plan[name]
            facts = self._of_face(stage.face)
            rules = [read_values(facts.settings, stage.reads), stage.facts(facts)]
            inputs = [self[needed] for needed in stage.needs]
            self._found[name] = stage_key(stage.kind, stage.version, rules, inputs)
        return self._found[name]
