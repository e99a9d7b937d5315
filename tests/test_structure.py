"""The shape of the source, which newcomers rely on: few modules at the root, no circles, short functions."""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"layercache": ROOT / "layercache", "layercache_backends": ROOT / "backends/layercache_backends"}

LINES = 40
"""Of a function's code; its docstring does not count."""

PARAMETERS = 7
"""Of a function, ``self`` not counted. Options that users pass by keyword have no limit: see `OPTIONS`."""

OPTIONS = {"layercache.config.opening.open", "layercache.cache.core.CacheCore.__init__"}
"""Functions of the public API that take each option as a keyword argument, as the configuration has it."""

FILE = 350
"""Lines of a module."""


@cache
def _modules() -> dict[str, ast.Module]:
    found = {}
    for package, folder in PACKAGES.items():
        for path in folder.rglob("*.py"):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = ast.parse(path.read_text(), filename=str(path))
    return found


def _imports() -> dict[str, set[str]]:
    """What each module imports of ours, at run time or for its types alone."""
    arrows: dict[str, set[str]] = defaultdict(set)
    for name, tree in _modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for each in node.names:
                    inner = f"{node.module}.{each.name}"
                    arrows[name].add(inner if inner in _modules() else node.module)
            elif isinstance(node, ast.Import):
                arrows[name].update(each.name for each in node.names)
    return {name: (found & _modules().keys()) - {name} for name, found in arrows.items()}


def _functions(tree: ast.AST, inside: str) -> list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    found: list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]] = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found.append((f"{inside}.{node.name}", node))
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            found += _functions(node, f"{inside}.{node.name}")
        elif not isinstance(node, ast.expr):
            found += _functions(node, inside)
    return found


@cache
def _all_functions() -> list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    return [each for name, tree in _modules().items() for each in _functions(tree, name)]


def test_no_modules_import_each_other_in_a_circle() -> None:
    TopologicalSorter(_imports()).prepare()  # the error names the modules of a circle


def test_the_root_has_few_modules_and_every_package_says_what_is_in_it() -> None:
    assert len(list(PACKAGES["layercache"].glob("*.py"))) <= 9
    inits = [path for folder in PACKAGES.values() for path in folder.rglob("__init__.py")]
    silent = [path for path in inits if not ast.get_docstring(ast.parse(path.read_text()))]
    assert not silent


@pytest.mark.parametrize("package", PACKAGES)
def test_a_module_is_read_in_one_sitting(package: str) -> None:
    long = {
        str(path): count
        for path in PACKAGES[package].rglob("*.py")
        if (count := len(path.read_text().splitlines())) > FILE
    }
    assert not long


def test_a_function_fits_on_a_screen() -> None:
    long = {}
    for name, function in _all_functions():
        lines = (function.end_lineno or 0) - function.lineno + 1
        if ast.get_docstring(function):
            lines -= (function.body[0].end_lineno or 0) - function.body[0].lineno + 1
        if lines > LINES:
            long[name] = lines
    assert not long


def test_a_function_takes_few_parameters() -> None:
    many = {}
    for name, function in _all_functions():
        arguments = function.args
        names = [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        count = len([each for each in names if each not in ("self", "cls")])
        if count > PARAMETERS and name not in OPTIONS:
            many[name] = count
    assert not many
