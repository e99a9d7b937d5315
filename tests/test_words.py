"""What users read is plain English: no word of the project's former private language comes back.

Reads the pages, the help of every command as it is printed, and the string literals of the packages, that is
the messages of errors, warnings and tables. Docstrings and comments are left to the reader of the code.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner
from fixtures.pages import PAGES

from layercache.cli.program import COMMANDS, program

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PACKAGES = [ROOT / "layercache", ROOT / "backends" / "layercache_backends"]

BETTER = {
    r"whoever|whomever": "anybody who",
    r"anew": "again",
    r"parted by": "separated by",
    r"of (its|their|our|his|one's) own": "own, separate, new",
    r"meanwhile": "at the same time, in between",
    r"all the same": "anyway",
    r"so long as|as long as it likes": "while",
    r"for ever": "forever, without limit",
    r"tells?|told|telling": "report, print, show, describe, distinguish",
    r"hearsay|unheard": "unconfirmed, claimed",
    r"believed?|believes|believing": "trust",
    r"pass(ed|es|ing) over": "skip",
    r"left alone|leave alone|leaves alone": "skip, not changed",
    r"put aside|puts aside|puts it aside": "quarantine",
    r"(?<!there )(is|are|was|were|be) no(?! (longer|more|less|later|bigger)\b)": "is not a",
    r"(?<!there )(is|are|was) none": "there is none; is not one",
    r"(is|are|was) known of": "what the cache knows about",
    r"knows? of": "know, know about",
    r"nothing of|nothing half": "none of it",
    r"(is|are) there whole|be whole": "complete",
    r"can be had|may be had": "is available",
    r"in the midst of": "in the middle of, during",
    r"beside": "next to, in addition to, compared with",
    r"learnt": "learned",
    r"in force": "in effect",
    r"near to far": "nearest first",
    r"what killed \w+ have left|killed writes": "leftovers of killed writers",
    r"is said|are said": "is reported",
    r"speaks? of|spoken of|spoken to": "mention, refer to, contact",
    r"shall": "must, will",
    r"upon": "on",
    r"out of order": "failing, broken",
    r"who (is|are|was) (killed|behind|free)": "a person for a thing: use that, which",
    r"makes? of": "turn into, return",
    r"the more so|likewise": "too, as well",
    r"so much|so many seconds": "this much, N seconds",
    r"(module|document|line|object|file|table|method) an? (command|line|fact|layer|image|tier)": "per",
}
"""A pattern of words that a native engineer reads twice, and what to write. Sought without regard to case."""

EXCEPT = re.compile(r"`[^`\n]*`|\[tool\.[^\]]*\]")
"""Names in code spans are not prose."""


def faults(text: str) -> Iterator[tuple[int, str, str]]:
    """Each line of the text with a word that has a better one: its number, the word, the better one."""
    for number, line in enumerate(text.splitlines(), start=1):
        prose = EXCEPT.sub("", line)
        for pattern, better in BETTER.items():
            if found := re.search(rf"\b(?:{pattern})\b", prose, re.IGNORECASE):
                yield number, found[0], better


def report(name: object, text: str, first: int = 1) -> list[str]:
    return [f"{name}:{first + number - 1}: {word!r}: {better}" for number, word, better in faults(text)]


def without_code(page: str) -> str:
    """The page with its code blocks emptied, line for line; the output of commands is tested as messages."""
    return re.sub(
        r"^```.*?^```$", lambda code: "\n" * code[0].count("\n"), page, flags=re.DOTALL | re.MULTILINE
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_pages_are_plain_english(page: Path) -> None:
    assert report(page.relative_to(ROOT), without_code(page.read_text())) == []


def commands() -> Iterator[list[str]]:
    """What to type for the help of every command: the names after ``layercache``."""
    yield []
    for name in COMMANDS:
        yield [name]
        command = program.get_command(click.Context(program), name)
        yield from ([name, more] for more in (command.commands if isinstance(command, click.Group) else ()))


def test_the_help_of_every_command_is_plain_english() -> None:
    found = []
    for names in commands():
        arguments = [*names, "--help"]
        shown = CliRunner().invoke(program, arguments, terminal_width=1000, max_content_width=1000)
        assert shown.exit_code == 0
        found += report(" ".join(["layercache", *arguments]), shown.output)
    assert found == []


def literals(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Every string of a module that is not a docstring: its line and its text, ``{}`` for what is put in."""
    nodes = list(ast.walk(module))
    bare = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    formatted = [node for node in nodes if isinstance(node, ast.JoinedStr)]
    inside = {id(each) for node in formatted for each in node.values}
    for joined in formatted:
        parts = (each.value if isinstance(each, ast.Constant) else "{}" for each in joined.values)
        yield joined.lineno, "".join(map(str, parts))
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare | inside:
            yield node.lineno, node.value


def test_the_messages_are_plain_english() -> None:
    found = []
    for package in PACKAGES:
        for path in sorted(package.rglob("*.py")):
            for line, text in literals(ast.parse(path.read_text())):
                if " " in text:
                    found += report(path.relative_to(ROOT), text.replace("\n", " "), line)
    assert found == []


def test_a_word_of_the_list_is_found_wherever_it_stands() -> None:
    assert list(faults("fine\nOptions are parted by commas")) == [(2, "parted by", "separated by")]
    assert list(faults("`told` is a name in code")) == []
    module = ast.parse('"""told"""\nx = f"{1} is no layer"\ndef f():\n    "told"\n    return "believed"')
    assert [text for _, text in literals(module)] == ["{} is no layer", "believed"]
