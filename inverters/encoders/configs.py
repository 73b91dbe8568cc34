"""Configurations of encoders from JSON: dataclasses of whole numbers, choices, and further dataclasses."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

_MOST_SIZE, _MOST_STAGES = 1 << 13, 64

T = TypeVar("T")


def config_of(kind: type[T], values: Mapping[str, Any]) -> T:
    """Return a configuration of this kind from JSON values.

    Raises ValueError or TypeError for values that none can have.
    """
    hints = get_type_hints(kind)
    if unknown := sorted(set(values) - set(hints)):
        raise ValueError(f"its configuration has '{unknown[0]}'")
    return kind(**{name: _value(name, hints[name], value) for name, value in values.items()})


def _value(name: str, hint: Any, value: Any) -> Any:
    nested = [kind for kind in (hint, *get_args(hint)) if dataclasses.is_dataclass(kind)]
    if nested:
        return config_of(_kind_with(name, nested, value), value)
    if get_origin(hint) is Literal or hint is bool:
        choices = (False, True) if hint is bool else get_args(hint)
        if not any(type(value) is type(choice) and value == choice for choice in choices):
            raise ValueError(f"its {name} is {value!r:.20}")
        return value
    if isinstance(value, list | tuple):
        if len(value) > _MOST_STAGES:
            raise ValueError(f"its {name} has {len(value)} numbers")
        return tuple(_whole(name, entry) for entry in value)
    return _whole(name, value)


def _kind_with(name: str, kinds: list[Any], values: Any) -> Any:
    """The first of several kinds that has all of these fields."""
    if not isinstance(values, Mapping):
        raise TypeError(f"its {name} is {values!r:.20}")
    return next((kind for kind in kinds if set(values) <= set(get_type_hints(kind))), kinds[0])


def _whole(name: str, value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _MOST_SIZE:
        raise ValueError(f"its {name} is {value!r:.20}")
    return value
