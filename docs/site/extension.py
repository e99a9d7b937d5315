"""What Sphinx does not do by itself: the navigation, the drawings, the reference of the API."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes
from drawings import drawing
from pygments.lexers.special import TextLexer
from sphinx.util import logging

import layercache
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from sphinx.application import Sphinx

ROW = re.compile(r"^\| ([^|]+) \| (.*\]\([^|]*) \|$", re.MULTILINE)
PAGE = re.compile(r"\]\(([\w/.-]+)\.md\)")

ROOT = Path(__file__).resolve().parents[2]
API = "docs/api-reference"
MADE_BY_LAYERCACHE = {
    f"{module}.{name}" for module in ("layercache", "layercache.aio") for name in ("Cache", "Image", "Layer")
}
MODULES = (
    "aio",
    "adapters.requests",
    "adapters.httpx",
    "adapters.oras",
    "adapters.docker",
    "adapters.starlette",
    "adapters.otel",
    "backend.interface",
    "backend.capabilities",
    "backend.plain",
)
"""Public modules that are shown as a whole, below what the package itself has."""

PUBLIC = re.compile(r"^\| `layercache\.([\w.]+)` \| \[([^\]]*)\]\(#", re.MULTILINE)
"""A row of docs/api.md: a public module, and the names in it that are public."""

logger = logging.getLogger(__name__)


def navigation(readme: str) -> Iterator[str]:
    """A hidden table of contents for each row of the table "Documentation": its label, and its pages."""
    for label, pages in ROW.findall(readme.partition("\n## Documentation\n")[2]):
        yield "\n```{toctree}\n:hidden:\n:caption: " + label[0].upper() + label[1:] + "\n\n"
        yield from (f"{page}\n" for page in PAGE.findall(pages))
        yield "```\n"


def complete(module: ModuleType) -> None:
    """Give a module the names that it imports for type checkers alone: msgspec evaluates its annotations."""
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for each in node.body:
                if isinstance(each, ast.ImportFrom) and each.module:
                    with suppress(ImportError, AttributeError):  # what only type checkers have
                        home = importlib.import_module(each.module)
                        vars(module).update({found.name: getattr(home, found.name) for found in each.names})


def reference() -> Iterator[str]:
    """Each public name, as its docstring describes it: functions, classes, errors."""
    public = {name: getattr(layercache, name) for name in layercache.__all__}
    classes = {name for name, value in public.items() if isinstance(value, type)}
    errors = {name for name in classes if issubclass(public[name], Exception)}
    for module in {public[name].__module__ for name in classes if issubclass(public[name], Value)}:
        complete(sys.modules[module])
    functions = {name for name in public.keys() - classes if inspect.isfunction(public[name])}
    yield "\n```{eval-rst}\n.. module:: layercache\n```\n"
    yield from section("Functions", "autofunction", functions)
    yield from section("Classes", "autoclass", classes - errors)
    yield from section("Errors", "autoexception", errors)
    yield from section("Types", "autodata", public.keys() - classes - functions - {"__version__"})
    for module, names in PUBLIC.findall((ROOT / "docs" / "api.md").read_text()):
        yield from part(module, re.findall(r"`(\w+)`", names))
    for module in MODULES:
        yield f"\n## layercache.{module}\n\n```{{eval-rst}}\n"
        yield f".. automodule:: layercache.{module}\n   :members:\n```\n"


def part(module: str, names: list[str]) -> Iterator[str]:
    """The public names of a module that has private ones, too."""
    home = importlib.import_module(f"layercache.{module}")
    yield f"\n## layercache.{module}\n\n```{{eval-rst}}\n"
    for name in names:
        value = getattr(home, name)
        if isinstance(value, type) and issubclass(value, Value):
            complete(sys.modules[value.__module__])
        directive = "autoclass" if isinstance(value, type) else "autofunction"
        yield f".. {directive}:: layercache.{module}.{name}\n"
        yield "   :members:\n" if isinstance(value, type) else ""
    yield "```\n"


def section(heading: str, directive: str, names: set[str]) -> Iterator[str]:
    yield f"\n## {heading}\n\n```{{eval-rst}}\n"
    for name in sorted(names):
        yield f".. {directive}:: layercache.{name}\n"
        if directive in ("autoclass", "autoexception"):
            yield "   :members:\n"
        if name == "Cache":  # three classes, each a file: see docs/design.md
            yield "   :inherited-members:\n"
        if directive == "autoexception":
            yield "   :show-inheritance:\n"
    yield "```\n"


def add(app: Sphinx, page: str, source: list[str]) -> None:
    """What the site has on a page that the page on the host of the repository does not have."""
    if page == app.config.root_doc:
        source[0] += "".join(navigation(source[0]))
    elif page == API:
        source[0] += "".join(reference())


def draw(app: Sphinx, document: nodes.document) -> None:
    """Put drawings in the place of Mermaid's blocks."""
    for block in list(document.findall(nodes.literal_block)):
        if block.get("language") == "mermaid":
            path = drawing(block.astext())
            if path.is_file():
                app.env.note_dependency(str(path))
                svg = f'<div class="drawing">{path.read_text()}</div>'
                block.replace_self(nodes.raw("", svg, format="html"))
            else:
                logger.warning("the drawing is missing or has changed: make drawings", location=block)


def shorten(app: Sphinx, kind: str, name: str, *_: object) -> tuple[str, str] | None:
    """No arguments of a class that layercache alone instantiates: they are not a promise."""
    return ("", "") if name in MADE_BY_LAYERCACHE else None


def outdated(*_: object) -> list[str]:
    """Pages that are made of more than their files."""
    return [API, "README"]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_lexer("terminal", TextLexer)
    app.connect("env-get-outdated", outdated)
    app.connect("source-read", add)
    app.connect("doctree-read", draw)
    app.connect("autodoc-process-signature", shorten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
