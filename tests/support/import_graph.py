"""The import graph of the source folders: modules, levels, arrows and cycles; `python -m tests.support.import_graph`.

A node of the folder graph is a folder, or a module that lies beside folders (`edge/settings.py`). Imports inside
functions and behind `TYPE_CHECKING` count like all others.
"""

import ast
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
Graph = dict[str, set[str]]


def modules(top: str, root: Path = ROOT) -> dict[str, Path]:
    """Dotted name of each module below the folder `top`, packages under their own name."""
    found = {}
    for path in sorted((root / top).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(path: Path, known: Iterable[str]) -> set[str]:
    """Those of the `known` modules that the file at `path` imports, wherever in the file it does."""
    known = set(known)
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inside & known) | ({node.module} if inside - known else set())
    return found & known


def module_graph(tops: Iterable[str], root: Path = ROOT) -> Graph:
    """Which module imports which, over all of `tops`."""
    paths = {name: path for top in tops for name, path in modules(top, root).items()}
    return {name: imports_of(path, paths) - {name} for name, path in paths.items()}


def folder_of(module: str, graph: Mapping[str, object]) -> str:
    """The folder at the second level that holds a module (the third level in `edge.report`), else the module itself."""
    parts = module.split(".")
    depth = 3 if parts[:2] == ["edge", "report"] else 2
    folder = ".".join(parts[:depth])
    return folder if folder in graph else module


def folder_graph(graph: Graph) -> Graph:
    """Which folder imports which."""
    folders: Graph = {}
    for module, imported in graph.items():
        own = folder_of(module, graph)
        folders.setdefault(own, set()).update(folder_of(name, graph) for name in imported)
    return {folder: imported - {folder} for folder, imported in folders.items()}


def cycles(graph: Graph) -> list[list[str]]:
    """Groups of nodes that import each other (strongly connected components of more than one node)."""
    reached = {node: set(_reachable(graph, node)) for node in graph}
    groups: list[list[str]] = []
    for node in sorted(graph):
        if node in reached[node] and not any(node in group for group in groups):
            groups.append(sorted(other for other in reached[node] if node in reached[other]))
    return groups


def _reachable(graph: Graph, start: str) -> Iterator[str]:
    seen: set[str] = set()
    waiting = list(graph.get(start, ()))
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            yield node
            waiting += graph.get(node, ())


def levels(graph: Graph) -> int:
    """Nodes on the longest chain of imports; members of a cycle count as one level."""
    depth: dict[str, int] = {}

    def depth_of(node: str, above: tuple[str, ...] = ()) -> int:
        if node not in depth:
            below = [depth_of(other, (*above, node)) for other in graph.get(node, ()) if other not in above]
            depth[node] = 1 + max(below, default=0)
        return depth[node]

    return max((depth_of(node) for node in graph), default=0)


def main(tops: list[str]) -> None:
    """Print the figures of each top-level folder."""
    for top in tops:
        graph = module_graph([top])
        folders = folder_graph(graph)
        sizes = Counter(name.rpartition(".")[0] for name in graph if (ROOT / f"{name.replace('.', '/')}.py").exists())
        print(f"{top}: {sum(sizes.values())} modules in {len(sizes)} folders, at most {max(sizes.values())} in one")
        for folder, size in sorted(sizes.items()):
            print(f"  {folder.replace('.', '/'):<28} {size:>3}")
        for name, arrows in (("modules", graph), ("folders", folders)):
            imports = sum(map(len, arrows.values()))
            print(f"  between {name}: {imports} imports, {levels(arrows)} levels, cycles {cycles(arrows)}")


if __name__ == "__main__":
    main(sys.argv[1:] or ["edge", "train", "export"])
