"""The form of a flow holds the settings of the house, and takes whatever the house writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given as given_by
from hypothesis import settings
from hypothesis import strategies as st
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import is_valid

from flows.parameters import form_fields, given, settings_schema
from flows.process_folder import process_folder
from flows.process_video import process_video
from flows.watch_folder import watch_folder
from pipeline.request.options import from_mapping, to_mapping
from pipeline.request.settings import Request

WORDS = {
    "edit": "smile=1.5",
    "face": "0:smile=1",
    "view": "yaw=0.3",
    "frame_rate": "30000/1001",
    "space": "w+",
    "generator": "/models/eg3d.pkl",
}


def test_a_form_describes_every_parameter_and_asks_for_clip_and_folder() -> None:
    folders = [(flow, ["folder", "out"]) for flow in (process_folder, watch_folder)]
    for flow, required in ((process_video, ["video", "out"]), *folders):
        schema = parameter_schema(flow)
        assert schema.required == required
        assert all(found["description"] for found in schema.properties.values())
        assert schema.properties["settings"]["properties"] == settings_schema()["properties"]


def test_every_setting_is_in_the_form_with_its_choices_and_bounds() -> None:
    properties = settings_schema()["properties"]
    of_settings = {field.key for field in form_fields() if field.at[0] == "settings"}
    assert of_settings == {key for key in properties if key != "threads"} and "edit" in of_settings
    assert properties["smooth"]["enum"] == ["none", "causal", "gaussian"]
    assert properties["steps"]["type"] == "integer" and properties["steps"]["minimum"] == 1
    assert properties["edit"] == properties["edit"] | {"type": "array", "items": {"type": "string"}}
    assert not any("default" in found for found in properties.values())


@settings(max_examples=30)
@given_by(st.data())
def test_what_the_house_writes_of_any_settings_fits_the_form(data: st.DataObject) -> None:
    asked = {}
    for key, found in settings_schema()["properties"].items():
        if not data.draw(st.booleans()):
            continue
        if found["type"] == "boolean":
            asked[key] = data.draw(st.booleans())
        elif found["type"] in ("integer", "number"):
            asked[key] = int(data.draw(st.integers(found["minimum"], found["maximum"])))
        else:
            one = (
                data.draw(st.sampled_from(found["enum"])) if "enum" in found else WORDS.get(key, "mediapipe")
            )
            asked[key] = [one] if found["type"] == "array" else one
    assert is_valid(asked, settings_schema())
    request = from_mapping(asked, "settings", Request(Path("/clips/a.mp4")))
    assert is_valid(to_mapping(request), settings_schema())


@pytest.mark.parametrize(
    "wrong", [{"smooth": "median"}, {"steps": 0}, {"steps": "many"}, {"edit": "smile=1"}, {"strict": "yes"}]
)
def test_a_value_that_no_setting_takes_does_not_fit_the_form(wrong: dict[str, object]) -> None:
    assert not is_valid(
        {"settings": wrong}, {"type": "object", "properties": {"settings": settings_schema()}}
    )


def test_what_was_left_empty_is_not_given() -> None:
    assert given({"steps": None, "seed": 0, "strict": False}) == {"seed": 0, "strict": False}
    assert given(None) == {}
