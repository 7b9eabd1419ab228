"""The rules of the repository that a machine can check: layers, names, words."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from conftest import ROOT

PACKAGE = ROOT / "src/apidex"
LAYERS = ("catalogue", "search", "indexing", "replication", "http", "server", "settings", "app", "cli")
"""From the lowest to the highest. A room imports itself and the rooms before it."""

KNOWN_TO_ALL = {path.stem for path in PACKAGE.glob("*.py")} - {*LAYERS, "__init__", "__main__"}
CODE = [*sorted(PACKAGE.rglob("*.py")), *sorted((ROOT / "loadtest").rglob("*.py"))]
PROSE = [
    *CODE,
    *sorted((ROOT / "tests").rglob("*.py")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted(PACKAGE.rglob("*.js")),
    *sorted(PACKAGE.rglob("*.html")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "loadtest/results.md")),
]

BANNED_NAMES = {"bygone", "vouched", "vetted", "paper", "luck", "calm"}
"""Parts of identifiers that only an insider understands."""

EMPTY_NAMES = {"utils", "helpers", "manager", "common", "misc"}
"""Parts of the names of modules and classes that do not say what they are for."""

BANNED_PHRASES = re.compile(
    r"vouch|bygone|turn(?:s|ed)? away|\bin hand\b|\bmend(?:s|ed|ing)?\b|\b(?:is|are) no [a-z]+ that\b|\bnobody\b"
    r"|\bthereafter\b|\bwherefore\b|\bbegin anew\b|\bto be had\b|\bwhat is left of\b|\bsmall hash\b|\bshort cut\b",
    re.IGNORECASE,
)


def room_of(path: Path) -> str:
    """The room that a module of the package stands in; a module at the top is a room of its own."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported_rooms(path: Path) -> Iterator[tuple[int, str]]:
    """The line and the room of every import of the package, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "apidex":
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("apidex."):
            yield node.lineno, str(node.module).split(".")[1]
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, a.name.split(".")[1]) for a in node.names if a.name.startswith("apidex."))


def test_imports_between_rooms_lead_downwards():
    upwards = []
    for path in PACKAGE.rglob("*.py"):
        room = room_of(path)
        if room in {"__init__", "__main__"}:
            continue
        allowed = {"__version__", *KNOWN_TO_ALL}
        if room in LAYERS:
            allowed |= set(LAYERS[: LAYERS.index(room) + 1])
        upwards += [
            f"{path.relative_to(ROOT)}:{line} imports {to}" for line, to in imported_rooms(path) if to not in allowed
        ]
    assert upwards == []


def test_settings_are_read_by_the_wiring_and_the_commands_only():
    readers = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if any(to == "settings" for _, to in imported_rooms(path)) and room_of(path) not in {"app", "cli"}
    }
    assert readers <= {"settings.py"}


def test_no_two_public_classes_share_a_name():
    places = defaultdict(list)
    for path in CODE:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(path.relative_to(ROOT)))
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


def names_of(path: Path) -> set[str]:
    """Every name that a module defines: its classes, functions, arguments and variables."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return names


def words_of(name: str) -> set[str]:
    """The words of an identifier, in lower case: `SearchRequest` and `search_request` have the same two."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def test_no_name_has_a_banned_word():
    banned = {
        f"{path.relative_to(ROOT)}: {name}" for path in CODE for name in names_of(path) if words_of(name) & BANNED_NAMES
    }
    assert banned == set()


def test_modules_and_classes_say_what_they_are_for():
    named = {(path, path.stem) for path in CODE}
    for path in CODE:
        named |= {(path, node.name) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)}
    assert {f"{path.relative_to(ROOT)}: {name}" for path, name in named if words_of(name) & EMPTY_NAMES} == set()


def test_no_sentence_has_a_banned_phrase():
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in PROSE
        if path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if BANNED_PHRASES.search(line)
    ]
    assert found == []
