"""Settings files, YAML or JSON: `clip.yaml` and `--settings FILE`. Their size is checked before the rest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from inverters.generators.small_files import open_regular
from pipeline.errors import UserError

_MOST_BYTES = 1 << 16
_MOST_NODES = 4000
_MOST_DEPTH = 2
"""A mapping, and lists in it."""


def read_settings(path: Path) -> dict[Any, Any]:
    """The mapping in a settings file; empty where the file is.

    A .json file is JSON, any other YAML (of which JSON is a part). At most 64 KiB, 4,000 values and lists in
    one mapping are taken.

    Raises UserError for a file that cannot be read, is larger, or gives an option twice.
    """
    try:
        with open_regular(path) as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise UserError(f"is larger than {_MOST_BYTES >> 10} KiB; it holds options only")
        text = data.decode("utf-8-sig")
        found = _from_json(text) if path.suffix == ".json" else _from_yaml(text)
    except UserError as error:
        raise UserError(f"{path.name}: {error}") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path.name}: cannot be read ({reason[:200]})") from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise UserError(f"{path.name}: must be a list of options such as `preset: fast`")
    return found


def settings_text(values: Mapping[str, Any]) -> str:
    """The text of a settings file that `read_settings` reads back."""
    if not values:
        return "# all defaults\n"
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)


def _from_json(text: str) -> Any:
    if any(text.count(bracket) > _MOST_NODES for bracket in ",[{"):
        raise UserError(f"has more than {_MOST_NODES} values")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        _check_names([name for name, _ in pairs])
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=once)
    except RecursionError:
        raise UserError("has lists within lists") from None


def _from_yaml(text: str) -> Any:
    """Counts events before anything is built: the parser itself keeps no more than the way to where it is."""
    depth = nodes = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        nodes += isinstance(event, yaml.NodeEvent)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent):
            raise UserError("has anchors and aliases, which are not taken")
        if isinstance(event, yaml.ScalarEvent) and event.value == "<<":
            raise UserError("has a merge key, <<, which is not taken")
        if depth > _MOST_DEPTH:
            raise UserError("has lists within lists, or options within options")
        if nodes > _MOST_NODES:
            raise UserError(f"has more than {_MOST_NODES} values")
    node = yaml.compose(text, yaml.SafeLoader)
    if isinstance(node, yaml.MappingNode):
        _check_names([key.value for key, _ in node.value])
    return yaml.safe_load(text)


def _check_names(names: list[Any]) -> None:
    """Raise UserError for a name that is given twice, also where one has - and the other _."""
    seen = set()
    for name in names:
        key = str(name).replace("-", "_")
        if key in seen:
            raise UserError(f"'{key[:80]}' is given twice")
        seen.add(key)
