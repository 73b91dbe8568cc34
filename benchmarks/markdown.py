"""Format numbers, paragraphs and tables as Markdown."""

from __future__ import annotations

import textwrap
from typing import Any


def number(value: float | None, digits: int = 1, unit: str = "") -> str:
    """`value` rounded, with its unit; a dash for None."""
    return "-" if value is None else f"{value:.{digits}f}{unit}"


def share(value: float | None) -> str:
    """A share as a percentage."""
    return "-" if value is None else f"{100 * value:.3g} %"


def prose(text: str) -> list[str]:
    """A paragraph in lines of README's width."""
    return textwrap.wrap(text, 126, break_long_words=False, break_on_hyphens=False)


def paragraphs(*parts: list[str]) -> list[str]:
    """Parts of a page, as lines, with an empty line between them; empty parts are left out."""
    return [line for k, part in enumerate(filter(None, parts)) for line in ([""] * (k > 0) + part)]


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table, as lines."""
    return ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]


def measured_on(results: dict[str, Any], *names: str) -> list[str]:
    """Hardware, versions and dates of these results."""
    *early, last = sorted({results[name]["machine"]["date"] for name in names})
    dates = f"{', '.join(early)} and {last}" if early else last
    machine = results[names[0]]["machine"]
    return prose(
        f"Measured on {dates} on {machine['cores']} cores of a virtual machine "
        f"({machine['cpu']}), GPU: {machine['gpu']}; torch {machine['torch']}."
    )
