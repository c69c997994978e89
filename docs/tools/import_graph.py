"""Which module of the package imports which, read from the source: every form of import, wherever it stands.

    import a.b    from a import b    from . import b    import_module("a.b")    import_module(f".{name}", __package__)

Imports within functions and under TYPE_CHECKING count like all others. A name put together at run time counts as an
import of every module that it may be.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

NAME = "ovito_mace_phase"
Graph = dict[str, set[str]]
"""Module -> the modules of the package that it imports; names without that of the package, "" is the package itself."""


def modules(package: Path) -> dict[str, Path]:
    """Return the modules of a package by dotted name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def import_graph(package: Path) -> Graph:
    """Return the imports among the modules of a package."""
    known = modules(package)
    return {name: {target for target in _imported(name, path, known) if target != name} for name, path in known.items()}


def foreign_imports(package: Path) -> dict[str, set[str]]:
    """Return module -> top-level names of other packages that it imports."""
    found: dict[str, set[str]] = {}
    for name, path in modules(package).items():
        names = {target.partition(".")[0] for target in _absolute_names(name, path)}
        found[name] = names - {NAME, ""}
    return found


def folder_of(module: str, folders: Mapping[str, object]) -> str:
    """Return the longest of the folders that holds a module."""
    parts = module.split(".")
    names = (".".join(parts[:k]) for k in range(len(parts), -1, -1))
    return next(name for name in names if name in folders)


def circles(graph: Graph) -> list[list[str]]:
    """Return the groups of modules that import each other in a loop (strongly connected components; Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            start = stack.index(node)
            if len(stack) - start > 1:
                found.append(sorted(stack[start:]))
            del stack[start:]

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def _imported(name: str, path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    for target in _absolute_names(name, path):
        if not (target + ".").startswith(NAME + "."):
            continue
        own = target.removeprefix(NAME).removeprefix(".")
        if own.endswith("*"):
            yield from (module for module in known if module.startswith(own[:-1]))
        elif own in known:
            yield own
        elif own.rpartition(".")[0] in known:
            yield own.rpartition(".")[0]


def _absolute_names(name: str, path: Path) -> Iterator[str]:
    """Yield what a file imports, with the name of the package; a name that ends in * stands for all that begin so."""
    here = f"{NAME}.{name}".rstrip(".").split(".")
    package = here if path.name == "__init__.py" else here[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            whole = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{whole}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and _is_import_call(node.func) and node.args:
            text = _text(node.args[0])
            yield ".".join(package) + text if text.startswith(".") else text


def _is_import_call(function: ast.expr) -> bool:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in ("import_module", "__import__", "importorskip")


def _text(argument: ast.expr) -> str:
    """Return a constant text, or the beginning of one that is put together followed by *."""
    if isinstance(argument, ast.Constant):
        return str(argument.value)
    first = argument.values[0] if isinstance(argument, ast.JoinedStr) and argument.values else None
    return (str(first.value) if isinstance(first, ast.Constant) else "") + "*"
