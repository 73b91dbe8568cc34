"""The table of methods: names, presets, and methods of other packages."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from inverters.base import Inversion, Method
from inverters.errors import InverterError, UnknownNameError
from inverters.methods import table
from inverters.methods.common import MethodSettings
from inverters.methods.table import ENCODERS, METHODS, find_method, method_names, settings_of
from tests.inverters.tiny import own_clip, tiny, tiny_generator

FITS = ["hfgi3d", "in-n-out", "pose-opt", "pti", "sam", "vive3d", "w", "w+"]
OURS = sorted([*FITS, *ENCODERS])


def mean_face(generator: Any, problem: Any, *, settings: Any, **_: Any) -> Inversion:
    """Every frame at the mean code."""
    ws = generator.card.w_avg.expand(len(problem.frames), generator.num_ws, -1)
    return Inversion("mean", settings.name, generator.card.fingerprint, problem.frames, ws)


MEAN = Method(
    name="mean",
    presets={"draft": MethodSettings(name="draft", tune=tiny("w").tune)},
    steps=lambda settings, frames: 0,
    invert=mean_face,
)
NO_METHOD = "a text"


def declare(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    """Entry points of another package."""
    found = [EntryPoint(name, value, table.GROUP) for name, value in values.items()]
    monkeypatch.setattr(table, "entry_points", lambda group: found if group == table.GROUP else [])


def test_names_are_known_without_torch() -> None:
    script = (
        "import sys; from inverters.methods.table import method_names; print(*method_names()); "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0 and set(OURS) <= set(done.stdout.split())
    assert sorted(METHODS) == OURS


@pytest.mark.parametrize("name", OURS)
def test_settings_of_a_method_are_complete_and_json(name: str) -> None:
    method = find_method(name)
    assert method.name == name and {"draft", "fast", "paper"} <= set(method.presets)
    for preset, settings in method.presets.items():
        assert settings.name == preset
        found = json.loads(json.dumps(asdict(settings)))
        assert {"name", "tune", "render"} <= set(found) and ("codes" in found) == (name in FITS)
        assert settings.needs_masks == (preset == "released-masked")
        few, many = (method.steps(settings, frames) for frames in (1, 300))
        assert (0 < few <= many) == (name in FITS)


def test_unknown_names_are_listed() -> None:
    with pytest.raises(UnknownNameError, match=f"'z'; known: {', '.join(OURS)}".replace("+", "\\+")):
        find_method("z")
    with pytest.raises(UnknownNameError, match=r"'best'; known for w\+: draft, fast, paper, in-n-out-bas"):
        settings_of(find_method("w+"), "best")
    with pytest.raises(UnknownNameError, match=r"'released-masked'; known for pti: draft, .*paper-locality"):
        settings_of(find_method("pti"), "released-masked")
    with pytest.raises(UnknownNameError, match="ablation 'no-entropy'; known for pti: none"):
        settings_of(find_method("pti"), "draft", ("no-entropy",))


def test_a_method_of_another_package_is_found_and_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    declare(monkeypatch, mean=f"{__name__}:MEAN", pti=f"{__name__}:MEAN")
    assert method_names() == sorted([*OURS, "mean"])
    assert find_method("pti").name == "pti", "the names of this package come first"
    method = find_method("mean")
    generator = tiny_generator()
    found = method(generator, own_clip(generator, 2), settings=settings_of(method, "draft"))
    assert (found.method, found.preset, len(found.ws)) == ("mean", "draft", 2)
    with pytest.raises(InverterError, match="mean cannot begin from another inversion"):
        method(generator, own_clip(generator, 2), settings=settings_of(method, "draft"), start=found)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no_such_package:METHOD", "'bad' .no_such_package:METHOD. cannot be imported: No module"),
        (f"{__name__}:MISSING", "cannot be imported: .*MISSING"),
        (f"{__name__}:NO_METHOD", "is no inverters.base.Method, but str"),
    ],
)
def test_a_broken_declaration_is_one_clear_error(
    value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(monkeypatch, bad=value)
    assert "bad" in method_names()
    with pytest.raises(InverterError, match=message):
        find_method("bad")


def test_settings_are_frozen() -> None:
    settings = find_method("w").presets["draft"]
    with pytest.raises(AttributeError):
        settings.name = "other"
    assert replace(settings, name="other") != settings
