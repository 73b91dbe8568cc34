"""Each setting is written once: with a name, a help text, and the choices that its readers know."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from inverters.editing.smoothing import KINDS
from inverters.methods.table import ENCODERS, method_names
from inverters.rendering.backends import BACKENDS
from pipeline.errors import UnknownNameError, UserError
from pipeline.request.checks import check_settings
from pipeline.request.faces import Face
from pipeline.request.fields import assembled, fields_of
from pipeline.request.options import process_fields, request_fields
from pipeline.request.settings import HEADINGS, Settings
from pipeline.video.codecs import suffix_for


def choices(name: str) -> set[str]:
    return set(next(field for field in request_fields() if field.name == name).choices)


def test_every_setting_is_an_option_with_a_name_and_help_of_its_own() -> None:
    fields = process_fields()
    assert max(Counter(field.name for field in fields).values()) == 1
    assert {field.at for field in fields_of(Settings)} == {
        field.at[1:] for field in fields if field.at[0] == "settings" and len(field.at) > 1
    }
    for field in fields:
        assert field.help.endswith("."), field.name
        assert field.mark.group in HEADINGS, field.name
        assert not field.choices or field.mark.kind, field.name


def test_choices_are_those_that_readers_know() -> None:
    assert choices("inverter") == set(method_names())
    assert choices("start") == {"auto", "none", *ENCODERS} and set(ENCODERS) < set(method_names())
    assert choices("smooth") == set(KINDS)
    assert choices("renderer") == set(BACKENDS)
    assert all(suffix_for(codec) for codec in choices("codec"))
    with pytest.raises(UnknownNameError):
        suffix_for("none of them")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({("decode", "reader"): "opencv"}, "unknown reader 'opencv'; known: av, decord"),
        ({("track", "smoothing"): "kalman"}, "unknown smoothing 'kalman'; known: box, gaussian, none"),
        (
            {("encode", "codec"): "divx"},
            "unknown codec 'divx'; known: auto, h264, hevc, prores, ffv1, vp9, png",
        ),
        ({("invert", "method"): "magic"}, "unknown inversion method 'magic'"),
        ({("renderer",): "raster"}, "unknown renderer 'raster'; known: auto, cuda, cpu, reference"),
        ({("device",): "tpu"}, "unknown device 'tpu'"),
        ({("decode", "max_frames"): 0}, "--max-frames must be 1 or more, not 0"),
        ({("encode", "quality"): 52}, "--quality must be 51 or less for a film, not 52"),
        (
            {("encode", "codec"): "vp9", ("encode", "quality"): 64},
            "--quality must be 63 or less for vp9, not 64",
        ),
        ({("track", "face"): (Face(1), Face(1))}, "--face 1 is given twice"),
        ({("finetune", "steps"): -1}, "--finetune-steps must be 0 or more, not -1"),
        ({("track", "smoothing_window"): -0.5}, "--smoothing-window must be 0 or more, not -0.5"),
        ({("composite", "feather"): float("nan")}, "--feather must be 0 or more, not nan"),
        ({("edit", "directions"): ("x" * 300,)}, "no such file"),
        ({("camera", "labels"): "x\0y"}, "--cameras x"),
        ({("invert", "occluder_masks"): "y" * 5000}, "no such folder"),
        ({("track", "detector"): "3ddfa:nothing"}, "--detector nothing: there is no such file"),
    ],
)
def test_settings_that_cannot_be_met_are_one_line(changes: Any, says: str) -> None:
    with pytest.raises(UserError) as error:
        check_settings(assembled(Settings(), changes))
    assert says in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 300


def test_settings_can_be_made_without_words() -> None:
    check_settings(Settings())
    assert assembled(Settings(), {("finetune", "steps"): 0}).finetune.enabled is False
    assert Path(Settings().generator).name == "bundled"
