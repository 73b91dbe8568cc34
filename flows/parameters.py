"""The settings of the house as parameters of flows: Prefect's UI shows their schema as a form.

Only the schema is made here, of `request_fields`; values are read and checked where all others are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import WithJsonSchema

from pipeline.request.fields import Field
from pipeline.request.options import request_fields

_OF_CALL = ("threads",)
"""Options of the call itself that a run takes from its settings."""
_TYPES = {int: "integer", float: "number", bool: "boolean"}


def form_fields() -> list[Field]:
    """The fields of the form, in the order of the help text."""
    return [field for field in request_fields() if field.at[0] == "settings" or field.key in _OF_CALL]


def settings_schema() -> dict[str, Any]:
    """JSON schema of a settings mapping."""
    return schema_of(form_fields())


def schema_of(fields: Iterable[Field]) -> dict[str, Any]:
    """JSON schema of a mapping with a property for each field, with its help, choices and bounds.

    No property has a default: what a form leaves empty is not set, so that presets and devices decide.
    """
    properties = {field.key: _property(field, place) for place, field in enumerate(fields)}
    return {"type": "object", "title": "settings", "properties": properties}


def _property(field: Field, place: int) -> dict[str, Any]:
    one: dict[str, Any] = {"type": "string"}
    if field.mark.write is None and field.mark.read is None:
        one["type"] = _TYPES.get(field.type, "string")
    if field.choices:
        one["enum"] = list(field.choices)
    for bound, value in (("minimum", field.mark.least), ("maximum", field.mark.most)):
        if value is not None:
            one[bound] = value
    whole = {"type": "array", "items": one} if field.many else one
    title = field.key.replace("_", " ")
    return {"title": title, "description": _described(field), "position": place, **whole}


def _described(field: Field) -> str:
    """Help, form of a value, and default."""
    parts = [field.help]
    if field.mark.metavar not in ("", "N") and not field.choices:
        parts.append(f"Form: {field.mark.metavar}.")
    default = field.mark.default
    if not default and field.default not in (None, False, (), ""):
        default = f"{field.default:g}" if isinstance(field.default, float) else str(field.default)
    if default:
        parts.append(f"Default: {default}.")
    return " ".join(parts)


SettingsForm = Annotated[dict[str, Any] | None, WithJsonSchema(settings_schema())]
"""Type of a flow's parameter `settings`."""


def given(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """The settings that have a value; a form sends null for what was cleared."""
    return {name: value for name, value in (settings or {}).items() if value is not None}
