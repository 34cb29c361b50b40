"""Errors: the tree in search/errors.py is that of the code, and has no others."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import search.errors

ROOT = Path(search.errors.__file__).parents[1]
BUILT_IN = {"Exception", "OSError", "ValueError"}


def described() -> dict[str, tuple[str, str]]:
    """Module (or nothing where it is its parent's) and parent by name, from the drawing."""
    found: dict[str, tuple[str, str]] = {}
    above = ["Exception"]
    for line in (search.errors.__doc__ or "").splitlines():
        entry = re.match(r"    ([│ ]*)[├└]── (\w+) +(?:((?:\w+\.)+\w+):)?", line)
        if entry is None:
            continue
        indent, name, module = entry.groups()
        depth = len(indent) // 4
        above[depth + 1 :] = [name]
        found[name] = (module or "search.errors", above[depth])
    return found


def defined() -> Iterator[tuple[str, str, str]]:
    """Name, module and parent of every exception of the packages."""
    classes = {
        node.name: (".".join(file.relative_to(ROOT).with_suffix("").parts), node.bases)
        for package in ("data", "models", "search", "storage")
        for file in sorted((ROOT / package).rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    }
    ours = set(BUILT_IN)
    while more := {
        name
        for name, (_, bases) in classes.items()
        if name not in ours and any(isinstance(b, ast.Name) and b.id in ours for b in bases)
    }:
        ours |= more
    for name in ours - BUILT_IN:
        module, bases = classes[name]
        yield name, module, next(b.id for b in bases if isinstance(b, ast.Name) and b.id in ours)


def test_the_tree_of_errors_is_that_of_the_code() -> None:
    elsewhere = set(re.findall(r"``(_?\w+Error)``", search.errors.__doc__ or ""))
    found = {name: (module, parent) for name, module, parent in defined() if name not in elsewhere}
    assert found == described()
    assert elsewhere <= {name for name, _, _ in defined()}
