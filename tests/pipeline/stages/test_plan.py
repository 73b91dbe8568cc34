"""A plan is made from settings alone; a setting changes the keys of stages that read it, and those after."""

from __future__ import annotations

import dataclasses
from dataclasses import is_dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inverters.generators.card import CameraRule, CropRule
from pipeline.errors import UndeclaredReadError
from pipeline.request.edits import Edit, View
from pipeline.request.face_settings import settings_of_face
from pipeline.request.faces import Face
from pipeline.request.settings import CompositeSettings, EditSettings, EncodeSettings, Settings
from pipeline.stages.plan import Keys, Plan, plan_of
from pipeline.stages.stage import Stage, only
from storage import canonical_json

OTHER: dict[str, Any] = {
    "generator": "other.safetensors",
    "decode.reader": "decord",
    "decode.ingest": "fps=12",
    "decode.max_frames": 5,
    "track.detector": "fan",
    "track.face": (Face(1),),
    "track.face_network": "net.onnx",
    "track.max_gap": 0.25,
    "track.smoothing": "box",
    "track.smoothing_window": 5.0,
    "camera.labels": "dataset.json",
    "camera.smoothing": 2.0,
    "invert.method": "w+",
    "invert.preset": "fast",
    "invert.space": "z+",
    "invert.start": "e4e-mask",
    "invert.encoder": "mine.safetensors",
    "invert.base_skip": "dropped",
    "invert.base_encoder": "base.safetensors",
    "invert.steps": 7,
    "invert.occluder_masks": "masks",
    "invert.seed": 3,
    "invert.no_entropy": True,
    "invert.no_latent_reg": True,
    "finetune.steps": 9,
    "edit.edits": (Edit("age", -1.0),),
    "edit.remove_occluder": True,
    "edit.view": View(pitch=0.2),
    "edit.inset": True,
    "edit.ease": 0.7,
    "edit.directions": ("mine.npz",),
    "edit.base_code": "follows",
    "edit.smooth": "causal",
    "precision": "float32",
    "composite.feather": 0.1,
    "composite.grow": 0.1,
    "composite.stitch": "codes",
    "composite.steady": True,
    "composite.face_masks": "masks",
    "decode.frame_rate": "24",
    "encode.codec": "ffv1",
    "encode.quality": 30,
    "encode.crops": True,
    "encode.layers": "prores",
    "encode.keep_location": True,
}
"""For each setting that a result depends on, a value that is not its default."""
UNKEYED = {"device", "renderer", "strict", "threads"}


def leaves(value: Any, prefix: str = "") -> list[str]:
    """Dotted names of all settings."""
    found: list[str] = []
    for field in dataclasses.fields(value):
        inner = getattr(value, field.name)
        is_group = is_dataclass(inner) and not isinstance(inner, View)
        found += leaves(inner, f"{prefix}{field.name}.") if is_group else [f"{prefix}{field.name}"]
    return found


def changed(base: Settings, name: str, value: Any) -> Settings:
    group, _, field = name.rpartition(".")
    if not group:
        return replace(base, **{field: value})
    return replace(base, **{group: replace(getattr(base, group), **{field: value})})


class FakeFacts:
    """Facts that differ where the settings behind them differ, without a file or a generator."""

    def __init__(self, wanted: Settings) -> None:
        self.settings = wanted
        self.content_hash = "c" * 64
        number = len(wanted.generator)
        self.fingerprint = wanted.generator
        self.card = SimpleNamespace(
            name=wanted.generator,
            crop_rule=CropRule(target=number),
            camera_rule=CameraRule(radius=number),
            landmarks3d={"68": np.full((68, 3), number, np.float32)},
        )
        config = SimpleNamespace(img_resolution=number)
        self.models = SimpleNamespace(generator=SimpleNamespace(card=self.card, config=config))
        self.labels = wanted.camera.labels
        self.occluder_masks = wanted.invert.occluder_masks
        self.face_masks = wanted.composite.face_masks
        self.detector_file = None
        self.encoder = wanted.invert.encoder
        self.face_network = wanted.track.face_network
        self.all_settings = wanted
        self.method_settings = {"name": wanted.invert.preset, "encoder": wanted.invert.base_encoder}
        self.perceptual_weights = {"lpips-vgg": False}
        self.p_statistics = {"samples": number}
        self.judge = {"judge": str(number)}
        self.direction_digests = {e.name: f"{e.name} {wanted.edit.directions}" for e in wanted.edit.edits}

    def of_face(self, place: int) -> FakeFacts:
        return FakeFacts(settings_of_face(self.settings, place))


def keys_of(wanted: Settings) -> dict[str, str]:
    plan = plan_of(wanted)
    keys: Any = Keys(plan, FakeFacts(wanted))  # type: ignore[arg-type]
    return {stage.name: keys[stage.name] for stage in plan}


def reads(stage: Stage[Any], name: str) -> bool:
    return name in stage.reads or name.partition(".")[0] in stage.reads


REQUESTS = st.builds(
    Settings,
    edit=st.builds(
        EditSettings,
        edits=st.sampled_from([(), (Edit("smile", 1.5),), (Edit("smile", 1.0, 0.1, 0.4), Edit("age", 1.0))]),
        remove_occluder=st.booleans(),
        view=st.sampled_from([View(yaw=0.3), View(orbit=True)]),
        inset=st.booleans(),
        smooth=st.sampled_from(["none", "gaussian"]),
    ),
    composite=st.builds(CompositeSettings, stitch=st.sampled_from([None, "weights"]), steady=st.booleans()),
    encode=st.builds(EncodeSettings, crops=st.booleans(), layers=st.sampled_from([None, "png", "ffv1"])),
)


def test_every_setting_is_tried() -> None:
    assert set(leaves(Settings())) - UNKEYED == set(OTHER)


@settings(max_examples=150)
@given(base=REQUESTS, name=st.sampled_from(sorted(OTHER)))
def test_a_setting_changes_the_keys_of_the_stages_that_read_it(base: Settings, name: str) -> None:
    other = changed(base, name, OTHER[name])
    plans, keys = (plan_of(base), plan_of(other)), (keys_of(base), keys_of(other))
    touched: set[str] = set()
    for stage in plans[0]:
        twin = next((s for s in plans[1] if s.name == stage.name), None)
        if twin is None:
            continue
        is_touched = reads(stage, name) and base != other
        by_file = stage.kind == "start" and name == "invert.encoder"  # by what is in it, not by its name
        is_touched |= by_file and base != other
        is_touched |= stage.needs != twin.needs or bool(touched & set(stage.needs))
        if is_touched:
            touched.add(stage.name)
        assert (keys[0][stage.name] != keys[1][stage.name]) == is_touched, (stage.name, name)


@given(name=st.sampled_from(sorted(UNKEYED & set(leaves(Settings())))))
def test_a_setting_that_decides_nothing_changes_no_key(name: str) -> None:
    value = {"device": "cuda", "renderer": "reference", "strict": True, "threads": 1}[name]
    assert keys_of(Settings()) == keys_of(changed(Settings(), name, value))


@given(base=REQUESTS)
def test_a_plan_is_in_order_and_its_reads_exist(base: Settings) -> None:
    plan, known = plan_of(base), set(leaves(base))
    groups = {name.partition(".")[0] for name in known}
    seen: set[str] = set()
    for stage in plan:
        assert set(stage.needs) <= seen
        seen.add(stage.name)
        assert {*stage.reads, *stage.unkeyed} <= known | groups | {"*"}
    assert plan.stages[-1].name == "report" and plan.kinds[:3] == ("decode", "track", "align")
    kinds = [stage.kind for stage in plan]
    assert [k for i, k in enumerate(kinds) if i == 0 or kinds[i - 1] != k] == list(plan.kinds)


def test_a_stage_sees_only_the_settings_that_it_declares() -> None:
    stage: Stage[None] = Stage("toy", 1, lambda run: None, reads=("edit.ease", "track"), unkeyed=("strict",))
    seen = only(Settings(), stage)
    assert seen.edit.ease == 0.2 and seen.track.face == (Face(0),) and seen.strict is False
    for read in (lambda: seen.edit.edits, lambda: seen.device, lambda: seen.encode.codec):
        with pytest.raises(UndeclaredReadError, match="stage toy reads the setting"):
            read()


def test_keys_hold_contents_of_files_not_their_names(tmp_path: Path) -> None:
    base = Settings(edit=EditSettings(edits=(Edit("smile", 1.0),)))
    for name in ("camera.labels", "invert.occluder_masks", "generator"):
        moved = keys_of(changed(base, name, f"/a/{OTHER[name]}"))
        assert "/a/" not in canonical_json(moved)


def test_a_plan_with_a_stage_twice_or_before_its_needs_is_refused() -> None:
    plan = plan_of(Settings())
    with pytest.raises(ValueError, match="two stages called track"):
        plan.with_stage(plan["track"])
    with pytest.raises(ValueError, match="needs nowhere"):
        plan.with_stage(Stage("toy", 1, lambda run: None, needs=("nowhere",)))
    more = plan.with_stage(Stage("toy", 1, lambda run: None, needs=("invert",)))
    assert isinstance(more, Plan) and [stage.name for stage in more][-2:] == ["toy", "report"]
    with pytest.raises(ValueError, match=r"needs encode/edited\.mp4"):
        plan.with_stage(Stage("track/toy", 1, lambda run: None, needs=("encode/edited.mp4",)))
    kin = plan.with_stage(Stage("track/toy", 1, lambda run: None, needs=("track",)))
    assert kin.kinds == plan.kinds and [stage.name for stage in kin.of_kind("track")] == [
        "track",
        "track/toy",
    ]
