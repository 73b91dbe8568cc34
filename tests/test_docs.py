"""What README and docs name exists: paths, modules, commands, options, settings, presets, stages."""

from __future__ import annotations

import ast
import importlib
import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from inverters.methods.table import METHODS, find_method
from pipeline.commands.__main__ import COMMANDS
from pipeline.request.fields import Field, fields_of
from pipeline.request.options import from_mapping, parse
from pipeline.request.settings import Request
from pipeline.stages.plan import plan_of

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FOLDERS = sorted(path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith("."))
FOREIGN = {"gen_samples.py", "--smooth_out"}
"""Names of other projects."""
OTHERS = {"prefect", "pip", "apt", "make", "export", "mv"}
"""Commands that are not ours."""
HELP = {"--help", "--version"}


@pytest.fixture(params=PAGES, ids=lambda path: path.name)
def page(request: pytest.FixtureRequest) -> Path:
    return request.param


def spans(text: str) -> list[str]:
    """Inline code of a page; line breaks within become spaces."""
    prose = "\n".join("" if line.startswith("    ") else line for line in fenced(text)[1].splitlines())
    return [" ".join(found.split()) for found in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose)]


def blocks(text: str) -> list[str]:
    """Lines of code blocks, without comments at their ends."""
    inside, outside = fenced(text)
    indented = [line for line in outside.splitlines() if line.startswith("    ")]
    return [re.sub(r"(^|\s)# .*", "", line).strip() for line in (*inside.splitlines(), *indented)]


def fenced(text: str) -> tuple[str, str]:
    """What stands between ``` marks, without diagrams, and all else."""
    parts = re.split(r"^```(\w*)$", text, flags=re.MULTILINE)
    inside = "\n".join(body for name, body in zip(parts[1::4], parts[2::4]) if name != "mermaid")
    return inside, "".join(parts[0::4])


def code(page: Path) -> list[str]:
    text = page.read_text()
    return spans(text) + blocks(text)


# Paths and modules


def paths(text: str) -> Iterator[str]:
    """Paths of the repository that a piece of code names, with placeholders such as METHOD as `*`."""
    for word in re.split(r"""[\s'"=:()]+""", text):
        if re.match(rf"({'|'.join(FOLDERS)})/", word) or re.fullmatch(r"[\w./-]+\.(py|md|toml)", word):
            braces = [part.split(",") for part in re.split(r"[{}]", word)]
            yield from ("".join(parts) for parts in product(*braces))


def exists(path: str) -> bool:
    names = [name if (ROOT / name).exists() else re.sub(r"[A-Z]{3,}", "*", name) for name in path.split("/")]
    return any(ROOT.glob("/".join(names).rstrip("/")))


def test_paths_exist(page):
    named = {path for text in code(page) for path in paths(text)} - FOREIGN
    missing = sorted(path for path in named if not exists(path))
    assert not missing, f"{page.name} names what does not exist from the repository's root: {missing}"


def test_links_lead_to_a_heading_or_a_file(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        assert path.is_file(), f"{page.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}, target


def test_modules_and_what_is_in_them_exist(page):
    dotted = re.compile(r"\b(?:flows|pipeline|inverters|storage|benchmarks)(?:\.[a-zA-Z_]\w*)+")
    named = {name for text in code(page) for name in dotted.findall(text)}
    named = {name for name in named if not re.search(r"\.(py|md)$", name)}
    missing = sorted(name for name in named if not is_defined(name))
    assert not missing, f"{page.name} names modules or attributes that do not exist: {missing}"


def is_defined(name: str) -> bool:
    """Whether a dotted name is a module, or is defined in one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        stem = ROOT.joinpath(*parts[:count])
        source = next((p for p in (stem.with_suffix(".py"), stem / "__init__.py") if p.is_file()), None)
        if source is not None:
            return count == len(parts) or parts[count] in defined_in(source)
    return False


@cache
def defined_in(source: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.parse(source.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


# Commands and options


@cache
def commands() -> dict[str, dict[str, Field]]:
    """Options of every command, such as `cache gc`, by their names with dashes."""
    found: dict[str, dict[str, Field]] = {}
    for name, command in COMMANDS.items():
        module: Any = importlib.import_module(command.module)
        actions = getattr(module, "ACTIONS", None) or {"": module.run}
        for action, function in actions.items():
            fields = [field for field in fields_of(function) if not field.positional]
            found[f"{name} {action}".strip()] = {f"--{field.name}": field for field in fields}
    return found


@cache
def benchmark_options(name: str) -> frozenset[str]:
    source = ROOT / "benchmarks" / f"{name}.py"
    words = set(re.findall(r'"(--[\w-]+)"', source.read_text()))
    return frozenset(words | commands()["bench"].keys() if name == "fidelity" else words)


def wrong_in(text: str) -> Iterator[str]:
    """What is wrong with the commands of a span or a line: unknown names, options and values."""
    for part in text.split(";"):
        yield from wrong_in_command(re.findall(r"""'[^']*'|\S+""", part))


def wrong_in_command(raw: Sequence[str]) -> Iterator[str]:
    """The same of the words of one command, or of options alone, which some command must have."""
    words = [word.strip("'\"()$").removeprefix(".venv/bin/") for word in raw] + ["", ""]
    known = sorted({option for fields in commands().values() for option in fields})
    fields: dict[str, Field] = {}
    for place, word in enumerate(words):
        if word in OTHERS:
            return
        if word == "process-video":
            fields = commands()["process"]
            known = list(fields)
        elif word == "invid" and re.fullmatch(r"[a-z][a-z-]*", words[place + 1]):
            name, action = words[place + 1], f"{words[place + 1]} {words[place + 2]}"
            if name not in {found.partition(" ")[0] for found in commands()}:
                yield f"invid {name}"
            elif name not in commands() and action not in commands() and words[place + 2]:
                yield f"invid {action}"
            fields = commands().get(action, commands().get(name, {}))
            known = list(fields)
        elif words[0] == "python" and (match := re.fullmatch(r"benchmarks[./](\w+?)(\.py)?", word)):
            known, fields = sorted(benchmark_options(match[1])), {}
        elif word.startswith("--"):
            yield from wrong_option(word, words[place + 1], known, fields)


def wrong_option(word: str, after: str, known: Sequence[str], fields: dict[str, Field]) -> Iterator[str]:
    name, equals, value = word.partition("=")
    if name not in {*known, *HELP, *FOREIGN}:
        yield name
    field = fields.get(name, next((f[name] for f in commands().values() if name in f), None))
    if field is None or not field.choices or (field.mark.bare is not None and not equals):
        return
    value = value if equals else after
    if re.fullmatch(r"[a-z][\w+-]*", value) and value not in field.choices:
        yield f"{name} {value}"


def test_commands_options_and_choices_exist(page):
    wrong = [f"{problem!r} in {text!r}" for text in code(page) for problem in wrong_in(text)]
    assert not wrong, f"{page.name}:\n" + "\n".join(wrong)


def test_what_is_wrong_is_found():
    assert list(wrong_in("process-video clip.mp4 --smoothe causal")) == ["--smoothe"]
    assert list(wrong_in("invid cache tidy")) == ["invid cache tidy"]
    assert list(wrong_in("invid clean")) == ["invid clean"]
    assert list(wrong_in("--smooth median")) == ["--smooth median"]
    assert list(wrong_in("python -m benchmarks.calm --nonsense")) == ["--nonsense"]
    assert not exists("pipeline/stages/nothing.py") and not is_defined("pipeline.clip.Nothing")


def test_settings_can_be_read(page):
    for text in code(page):
        if re.match(r"[a-z_]+: \S", text):
            from_mapping(yaml.safe_load(text), page.name, Request(Path("clip.mp4")))
        for found in re.findall(r"'settings=(\{.*?\})'", text):
            from_mapping(json.loads(found), page.name, Request(Path("clip.mp4")))
        for found in re.findall(r"options=(\[.*?\])", text):
            parse(["clip.mp4", *json.loads(found)])


# Lists that must be whole


def test_presets_are_those_of_the_methods():
    rows = re.findall(r"^\| (`.*?) \| [^|]* \| ([^|]*) \|$", (ROOT / "docs/running.md").read_text(), re.M)
    listed = {
        method: [preset for preset in spans(presets) if not preset.startswith("--")]
        for methods, presets in rows
        for method in spans(methods)
    }
    assert listed == {name: list(find_method(name).presets) for name in METHODS}


def test_stages_of_a_manifest_are_those_of_a_plan():
    words = ["--edit=smile=1", "--view=yaw=0.3", "--inset", "--stitch", "--smooth=causal", "--start=psp"]
    kinds = plan_of(parse(["clip.mp4", *words]).settings).kinds
    row = re.search(
        r"^\| `stages` \|.*in the order they ran: (.*?)\. ", (ROOT / "docs/formats.md").read_text(), re.M
    )
    assert row is not None and tuple(spans(row[1])) == kinds
