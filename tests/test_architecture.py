"""The layout rules of docs/architecture.md: arrows between folders, no circles, short files and functions."""

from __future__ import annotations

import ast
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = ("flows", "pipeline", "inverters", "storage")
MAY_IMPORT = {
    "storage": (),
    "inverters": (),
    "inverters.rendering": ("inverters",),
    "inverters.people": ("inverters.rendering",),
    "inverters.generators": ("inverters.rendering", "inverters.people"),
    "inverters.fitting": ("inverters.generators", "inverters.fields", "inverters.encoders"),
    "inverters.fields": ("inverters.generators", "inverters.fitting", "inverters.encoders"),
    "inverters.encoders": ("inverters.generators", "inverters.fitting", "inverters.fields"),
    "inverters.metrics": ("inverters.fitting",),
    "inverters.methods": ("inverters.fitting", "inverters.fields", "inverters.encoders"),
    "inverters.editing": ("inverters.fitting", "inverters.fields"),
    "inverters.training": ("inverters.fitting", "inverters.editing", "inverters.metrics"),
    "pipeline": ("storage", "inverters.methods", "inverters.training"),
    "pipeline.video": ("pipeline",),
    "pipeline.faces": ("pipeline.video",),
    "pipeline.request": ("pipeline.video", "pipeline.faces"),
    "pipeline.report": ("pipeline.request",),
    "pipeline.stages": ("pipeline.report",),
    "pipeline.job": ("pipeline.stages",),
    "pipeline.samples": ("pipeline.stages",),
    "pipeline.scoring": ("pipeline.samples", "pipeline.job"),
    "pipeline.directions": ("pipeline.scoring",),
    "pipeline.watch": ("pipeline.job",),
    "pipeline.fidelity": ("pipeline.scoring",),
    "pipeline.commands": ("pipeline.directions", "pipeline.fidelity", "pipeline.watch"),
    "flows": ("pipeline.commands",),
}
"""Folder (or single file) -> folders it may import, and with them all that those may import.

A folder may import itself. `inverters` and `pipeline` stand for the files that lie loose in them.
"""
LOADS = {"inverters": {"torch", "numpy", "safetensors"}, "storage": {"numpy"}}
"""Packages that the modules of a folder import when they are loaded; others they import in functions."""
SOURCES = (".py", ".cpp", ".cu", ".h", ".cuh")


@cache
def modules() -> dict[str, Path]:
    """Path by dotted name of each Python file of ours; a package is named by its folder."""
    files = [path for top in OURS for path in (ROOT / top).rglob("*.py")]
    return {".".join(f.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): f for f in files}


@cache
def tree(path: Path) -> ast.Module:
    """Syntax tree of a Python file."""
    return ast.parse(path.read_text())


def imported(node: ast.AST) -> set[str]:
    """Modules that one statement imports: `a.b` and `a.b.c` for `from a.b import c`."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return set()


@cache
def imports(name: str) -> frozenset[str]:
    """Modules of ours that a module imports anywhere: in functions and under TYPE_CHECKING, too.

    `from a.b import c` counts as a use of `a.b.c` where that is a module, else of `a.b`.
    """
    found = set()
    for node in ast.walk(tree(modules()[name])):
        ours = imported(node) & set(modules())
        inner = {module for module in ours if isinstance(node, ast.ImportFrom) and module != node.module}
        found |= inner or ours
    return frozenset(found - {name})


def room(name: str) -> str:
    """The longest key of MAY_IMPORT that a module lies in; a folder that has none is a room by itself."""
    parts = name.split(".")
    if name in MAY_IMPORT or len(parts) == 1:
        return name
    return ".".join(parts[:2]) if (ROOT / parts[0] / parts[1]).is_dir() else parts[0]


def reachable(start: str) -> set[str]:
    """Rooms that a room may import."""
    found, waiting = {start}, [start]
    while waiting:
        new = set(MAY_IMPORT[waiting.pop()]) - found
        found |= new
        waiting += new
    return found


def sources(suffixes: tuple[str, ...] = SOURCES) -> list[Path]:
    """Source files of the repository, tests and benchmarks included."""
    tops = (*OURS, "benchmarks", "tests")
    return [p for top in tops for p in (ROOT / top).rglob("*") if p.suffix in suffixes]


def packages() -> list[str]:
    """Folders of ours with Python files in them."""
    folders = {path.parent for top in OURS for path in (ROOT / top).rglob("*.py")}
    return sorted(str(folder.relative_to(ROOT)) for folder in folders if "csrc" not in folder.parts)


def test_no_circle_of_imports():
    try:
        TopologicalSorter({name: imports(name) for name in modules()}).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("name", sorted({room(name) for name in modules()}))
def test_imports_follow_the_arrows(name):
    assert name in MAY_IMPORT, f"{name}: a folder without a row in MAY_IMPORT"
    wrong = [
        f"{module} -> {other}"
        for module in modules()
        if room(module) == name
        for other in imports(module)
        if room(other) not in reachable(name)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("top", LOADS)
def test_few_packages_are_loaded(top):
    known = LOADS[top] | set(OURS) | sys.stdlib_module_names
    wrong = [
        f"{name}: {module}"
        for name, path in modules().items()
        if name.split(".")[0] == top
        for node in tree(path).body
        for module in imported(node)
        if module.split(".")[0] not in known
    ]
    assert not wrong, "\n".join(wrong)


def test_only_flows_import_prefect():
    wrong = [
        name
        for name, path in modules().items()
        for node in ast.walk(tree(path))
        if not name.startswith("flows")
        and any(module.split(".")[0] == "prefect" for module in imported(node))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("folder", "most"), [("inverters", 6), ("pipeline", 5)])
def test_few_files_lie_loose(folder, most):
    loose = sorted(path.name for path in (ROOT / folder).glob("*.py"))
    assert len(loose) <= most, loose


def test_files_are_short():
    lengths = {path: len(path.read_text().splitlines()) for path in sources()}
    long = [f"{path.relative_to(ROOT)}: {length}" for path, length in lengths.items() if length > 400]
    assert not long, "\n".join(long)
    assert median(length for path, length in lengths.items() if path.suffix == ".py" and length) <= 150


def test_functions_are_short():
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {length}"
        for path in sources((".py",))
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (length := node.end_lineno - node.lineno + 1) > 60
    ]
    assert not long, "\n".join(long)


@pytest.mark.parametrize("package", packages())
def test_each_package_says_what_lives_there(package):
    init = ROOT / package / "__init__.py"
    assert init.is_file(), f"{package} is not a package"
    assert ast.get_docstring(tree(init)), f"{init} has no docstring"
