"""Commands as typed functions: what their words become, and what their help says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest

from pipeline.errors import UserError
from pipeline.request.command_line import HelpShown, call, call_one
from pipeline.request.fields import Expand, Field, Option, fields_of


@dataclass(frozen=True)
class Rates:
    """How fast."""

    learning_rate: float = 0.5
    """Rate of the steps."""
    steps: Annotated[int, Option(least=1)] = 10
    """How many steps."""


@dataclass(frozen=True)
class Needed:
    method: Annotated[str, Option(choices=("a", "b"), kind="method")]
    """Which method."""
    names: str | None = None
    """Which names."""


def _more() -> tuple[Field, ...]:
    return fields_of(Rates)


def command(
    file: Path,
    second: Path | None = None,
    /,
    *,
    count: int = 1,
    pairs: Annotated[tuple[tuple[Path, Path], ...], Option(metavar="IN OUT")] = (),
    names: tuple[str, ...] = (),
    fast: bool = False,
    kind: Annotated[str | None, Option(choices=("x", "y"), kind="kind", bare="x")] = None,
    rates: Rates = Rates(),
) -> dict[str, Any]:
    """Do it.

    In two lines
    of text.

    example: command FILE

    Args:
        file: The first.
        second: The second.
        count: How often.
        pairs: Two by two.
        names: Some names.
        fast: Quickly.
        kind: Of this kind.
        rates: How fast.
    """
    return dict(locals())


def given(*words: str) -> dict[str, Any]:
    """What differs from the defaults."""
    found, default = call(command, words, "do"), call(command, ["f"], "do")
    return {name: value for name, value in found.items() if value != default[name]}


def test_words_become_typed_arguments() -> None:
    assert given("f") == {}
    assert given("g", "h") == {"file": Path("g"), "second": Path("h")}
    assert given("f", "--count", "-3", "--fast") == {"count": -3, "fast": True}
    assert given("--names", "a", "f", "--names=b") == {"names": ("a", "b")}
    pairs = ((Path("a"), Path("b")), (Path("c"), Path("d")))
    assert given("f", "--pairs", "a", "b", "--pairs", "c", "d") == {"pairs": pairs}
    assert given("f", "--steps=3") == {"rates": Rates(steps=3)}
    assert given("--", "-f", "--fast") == {"file": Path("-f"), "second": Path("--fast")}


def test_an_option_that_can_stand_alone() -> None:
    assert given("--kind", "f") == {"kind": "x"}
    assert given("--kind", "y", "f") == {"kind": "y"}
    assert given("f", "g", "--kind", "y") == {"second": Path("g"), "kind": "y"}
    with pytest.raises(UserError, match="unknown kind 'z'; known: x, y"):
        given("f", "g", "--kind", "z")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "do needs FILE"),
        (["f", "g", "h"], "'h' is one word too many"),
        (["f", "--count", "1.0"], "--count: '1.0' is not a whole number"),
        (["f", "--count"], "--count needs a value"),
        (["f", "--fasst"], "unknown option --fasst"),
        (["f", "--steps", "0"], "--steps must be 1 or more, not 0"),
        (["f", "--learning-rate", "inf"], "not a finite number"),
    ],
)
def test_what_a_command_does_not_take(words: list[str], says: str) -> None:
    with pytest.raises(UserError) as error:
        call(command, words, "do")
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_dataclass_without_defaults_and_a_dict_of_other_fields() -> None:
    def both(*, needed: Needed, rest: Annotated[dict[str, Any], Expand(_more)]) -> Any:
        """Do both."""
        return needed, rest

    both.__annotations__ = {"needed": Needed, "rest": Annotated[dict[str, Any], Expand(_more)]}
    assert call(both, ["--method", "b"], "do") == (Needed("b"), {})
    assert call(both, ["--method=a", "--names=c", "--steps=0"], "do") == (Needed("a", "c"), {"steps": 0})
    with pytest.raises(UserError, match="do needs --method"):
        call(both, ["--steps=1"], "do")
    with pytest.raises(UserError, match="unknown method 'c'; known: a, b"):
        call(both, ["--method", "c"], "do")


def test_help_has_every_option_with_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(HelpShown):
        call(command, ["--help"], "do")
    text = capsys.readouterr().out
    words = " ".join(text.split())
    for part in (
        *("Usage: do", "In two lines of text.", "FILE The first.", "--count N How often. [default: 1]"),
        *("--pairs IN OUT Two by two.", "--learning-rate NUMBER Rate of the steps. [default: 0.5]"),
        *("--kind CHOICE Of this kind. [choices: x, y]", "example: command FILE"),
    ):
        assert part in words, part
    assert "Args:" not in text and not any(line != line.rstrip() for line in text.splitlines())


def test_subcommands(capsys: pytest.CaptureFixture[str]) -> None:
    def one(*, number: int = 1) -> int:
        """Do one thing."""
        return number

    one.__annotations__ = {"number": int}
    commands = {"one": one, "do": command}
    assert call_one(commands, ["one", "--number", "5"], "x", "All of it.") == 5
    for words, says in (
        ([], "x needs one of: one, do"),
        (["two"], "unknown command 'x two'; known: one, do"),
        (["one", "--n=1"], "unknown option"),
    ):
        with pytest.raises(UserError, match=says):
            call_one(commands, words, "x", "All of it.")
    with pytest.raises(HelpShown):
        call_one(commands, ["--help"], "x", "All of it.")
    text = capsys.readouterr().out
    assert "All of it." in text and "Do one thing." in text
    with pytest.raises(HelpShown):
        call_one(commands, ["one", "-h"], "x", "All of it.")
    assert "--number" in capsys.readouterr().out
