"""Command lines, read and described by cyclopts from lists of fields.

A command is a typed function: positional-only parameters are positional words, the others options; the first
lines of its docstring are the help text, and its `Args:` the help of each parameter.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

from pipeline.errors import UserError
from pipeline.request.fields import REQUIRED, Expand, Field, assembled, fields_of

if TYPE_CHECKING:
    from cyclopts import App
    from cyclopts.help import DefaultFormatter

Command = Callable[..., Any]
Commands = Mapping[str, Command]
"""Subcommands by name."""
_METAVARS = {int: "N", float: "NUMBER", str: "TEXT", Path: "FILE"}


class HelpShown(Exception):
    """Help or `--print-settings` was asked for, and has been printed; there is nothing else to do."""


def call(command: Command, words: Sequence[str], prog: str, about: str = "") -> Any:
    """Call a command with what the words say; returns what it returns.

    about: the help text, where it is not the command's docstring.

    Raises UserError for words that the command does not take, HelpShown where they ask for help.
    """
    fields = fields_of(command)
    given = _read(app_of(command, prog, about, _wants_help(words)), with_bare_values(words, fields))
    return _bound(command, fields, _values(fields, given))


def call_one(commands: Commands, words: Sequence[str], prog: str, about: str) -> Any:
    """Call the subcommand that the first word names, as `call` does. about: help text of all of them."""
    if not words or words[0].startswith("-"):
        if _wants_help(words):
            show_help(group_app(commands, prog, about))
        raise UserError(f"{prog} needs one of: {', '.join(commands)}")
    name, *rest = words
    if name not in commands:
        raise UserError(f"unknown command '{prog} {name}'; known: {', '.join(commands)}")
    return call(commands[name], rest, f"{prog} {name}")


def group_app(commands: Commands, prog: str, about: str) -> App:
    """Subcommands as an App of cyclopts, for help and completion."""
    app = _app(prog, about, describe=True)
    for name, command in commands.items():
        app.command(app_of(command, name, describe=True), name=name)
    return app


def app_of(command: Command, prog: str, about: str = "", describe: bool = False) -> App:
    """A command as an App of cyclopts.

    describe: with help texts, types of paths and choices, which only help and completion need; a choice is
    checked later, by `Field.check`.
    """
    fields = fields_of(command)
    headings = list(dict.fromkeys(field.mark.group for field in fields))

    def stand_in() -> None:
        """Has the command's signature for cyclopts to read; it is never called."""

    parameters = [_parameter(field, headings, describe) for field in fields]
    parameters.sort(key=lambda parameter: parameter.kind)
    stand_in.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    app = _app(prog, about or _about(command), describe)
    app.default(stand_in)
    return app


def _app(prog: str, about: str, describe: bool) -> App:
    from cyclopts import App, Group

    text, _, example = about.partition("\n\nexample: ")
    app = App(
        name=prog,
        help=_paragraphs(text),
        help_epilogue=f"example: {example}" if example else "",
        version_flags=[],
        help_flags=["--help", "-h"],
        help_format="plaintext",
        help_formatter=_formatter() if describe else None,
        group_commands=Group("commands", sort_key=0),
        group_arguments=Group("arguments", sort_key=0),
        group_parameters=Group("options", sort_key=0),
    )
    app["--help"].group = Group("help", sort_key=9)
    return app


def _formatter() -> DefaultFormatter:
    """Columns under headings, without boxes."""
    from cyclopts.help import DefaultFormatter, PanelSpec
    from rich.box import Box

    return DefaultFormatter(panel_spec=PanelSpec(box=Box("    \n" * 8), padding=(0, 2)))


def _about(command: Command) -> str:
    """A docstring without its `Args:`."""
    return (inspect.getdoc(command) or "").partition("\n\nArgs:")[0]


def _paragraphs(text: str) -> str:
    """Each paragraph in one line, for the terminal's width to break it."""
    return "\n\n".join(" ".join(part.split()) for part in text.replace("`", "").split("\n\n"))


def _parameter(field: Field, headings: Sequence[str], describe: bool) -> inspect.Parameter:
    """The field as cyclopts takes it: text, which `_values` reads, or a flag."""
    from cyclopts import Group, Parameter

    one: Any = Path if describe and (field.type is Path or field.mark.path is not None) else str
    hint: Any = tuple.__class_getitem__((one,) * field.words) if field.words > 1 else one
    how: dict[str, Any] = {}
    default: Any = ""  # what is not given is left to the command; cyclopts wants a default of the hint's type
    if field.type is bool:
        hint, default = bool, False
    elif field.many and not field.variadic:
        hint, default = tuple[hint, ...], ()
    if not field.many:
        how["allow_repeating"] = True  # the last one counts
    if describe:
        metavar = field.mark.metavar or (None if field.choices else _METAVARS.get(field.type))
        how |= {"help": field.help, "metavar": metavar, "show_default": _default(field)}
        how |= {"choices": field.choices or None}
        if field.mark.group:
            how["group"] = Group(field.mark.group, sort_key=1 + headings.index(field.mark.group))
    how["name"] = (field.mark.metavar or field.name.upper()) if field.positional else f"--{field.name}"
    return inspect.Parameter(
        field.key,
        _kind(field),
        default=REQUIRED if field.variadic or field.default is REQUIRED else default,
        annotation=Annotated[hint, Parameter(negative=(), json_list=False, json_dict=False, **how)],
    )


def _kind(field: Field) -> Any:
    if not field.positional:
        return inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter.VAR_POSITIONAL if field.variadic else inspect.Parameter.POSITIONAL_ONLY


def _default(field: Field) -> Any:
    """The default in the help text, as cyclopts asks for it; False for none."""
    text, default = field.mark.default, field.default
    if not text and (default in (None, False, (), "") or default is REQUIRED):
        return False
    text = text or (f"{default:g}" if isinstance(default, float) else str(default))
    return lambda _: text


def with_bare_values(words: Sequence[str], fields: Sequence[Field]) -> list[str]:
    """The words, with the value of each option that stands without one: `--stitch` as `--stitch=weights`.

    The word after such an option is its value where it is one of the choices, or where all positional words
    have been given before; else it is a positional word. `--stitch=VALUE` is never doubtful.
    """
    options = {f"--{field.name}": field for field in fields if not field.positional}
    places = sum(1 for field in fields if field.positional)
    found: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        field = options.get(word)
        if word == "--":
            return [*found, word, *left]
        if field is None or field.type is bool:
            found.append(word)
            places -= 0 if word.startswith("-") else 1
        elif field.mark.bare is None:
            found += [word, *left[: field.words]]
            del left[: field.words]
        else:
            follows = bool(left) and not left[0].startswith("-")
            own = follows and (left[0] in field.choices or places <= 0)
            found.append(f"{word}={left.pop(0) if own else field.mark.bare}")
    return found


def show_help(app: App) -> NoReturn:
    """Print the help of an app, without spaces at the ends of lines. Raises HelpShown."""
    from rich.console import Console

    console = Console()
    with console.capture() as shown:
        app.help_print([], console=console)
    print("\n".join(line.rstrip() for line in shown.get().splitlines()))
    raise HelpShown


def _wants_help(words: Sequence[str]) -> bool:
    return "--help" in words or "-h" in words


def _read(app: App, words: Sequence[str]) -> dict[str, Any]:
    """What the words give, by key. Raises UserError and HelpShown."""
    from cyclopts import CycloptsError

    try:
        command, bound, _ = app.parse_args(list(words), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise UserError(_said(error, app.name[0], words)) from None
    if command is not app.default_command:
        show_help(app)
    return dict(bound.arguments)


def _values(fields: Sequence[Field], given: Mapping[str, Any]) -> dict[str, Any]:
    """The texts that were given as values of their fields. Raises UserError."""

    def read(field: Field, text: Any) -> Any:
        if field.words > 1:
            return tuple(field.read(str(one)) for one in text)
        return field.read(str(text))

    found = {}
    for field in fields:
        if field.key not in given:
            continue
        value = given[field.key]
        if field.type is not bool:
            value = tuple(read(field, one) for one in value) if field.many else read(field, value)
        found[field.key] = value
    return found


def _said(error: Exception, prog: str, words: Sequence[str]) -> str:
    """An error of cyclopts in one line, as ours are."""
    from cyclopts import MissingArgumentError, UnknownOptionError, UnusedCliTokensError

    text = " ".join(str(error).split())
    if isinstance(error, UnusedCliTokensError):
        word = (error.unused_tokens or [""])[0]
        return f"'{word}' is one word too many; write a value of an option as --OPTION=VALUE"
    if isinstance(error, UnknownOptionError):
        return text.replace("Unknown option:", "unknown option").replace(". Did you", "; did you")
    if isinstance(error, MissingArgumentError):
        name = text.removeprefix("Parameter ").partition(" ")[0]
        return f"{name} needs a value" if name in words else f"{prog} needs {name}"
    return text[:1].lower() + text[1:]


def _bound(command: Command, fields: Sequence[Field], given: Mapping[str, Any]) -> Any:
    """Call the command, its dataclasses and dicts of fields made from what was given."""
    hints = inspect.get_annotations(command, eval_str=True)
    positional: list[Any] = []
    parts: dict[str, dict[tuple[str, ...], Any]] = {}
    named: dict[str, Any] = {}
    for field in fields:
        if field.key not in given:
            continue
        value, (first, *rest) = given[field.key], field.at
        if not _is_expand(hints[first]):  # those are checked by whoever takes them
            field.check(value)
        if field.positional:
            positional += value if field.variadic else [value]
        elif rest:
            parts.setdefault(first, {})[tuple(rest)] = value
        else:
            named[first] = value
    for name, parameter in inspect.signature(command).parameters.items():
        part = parts.get(name, {})
        if _is_expand(hints[name]):
            named[name] = {at[0]: value for at, value in part.items()}
        elif is_dataclass(hints[name]) and part:
            if parameter.default is REQUIRED:
                named[name] = hints[name](**{at[0]: value for at, value in part.items()})
            else:
                named[name] = assembled(parameter.default, part)
    return command(*positional, **named)


def _is_expand(hint: Any) -> bool:
    return any(isinstance(mark, Expand) for mark in getattr(hint, "__metadata__", ()))
