"""The folders: imports go one way, no folder is crowded, and tests use no benchmark and no other test."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.support.import_graph import cycles, folder_graph, folder_of, module_graph, modules

ROOT = Path(__file__).parents[1]
TOPS = ("edge", "train", "export")
BOTTOM = {"edge.host", "edge.settings", "edge.vocabulary", "edge.timestamps", "edge.version"}
CLASSIFYING = {"edge.database", "edge.capture", "edge.inference", "edge.image"}
ALLOWED = {
    "edge.image": set[str](),
    "edge.capture": {"edge.image"},
    "edge.inference": {"edge.image"},
    "edge.database": {"edge.capture", "edge.inference", "edge.image"},
    "edge.report": {"edge.database", "edge.inference", "edge.image"},
    "edge.service": CLASSIFYING,
    "edge.classifier": {"edge.inference", "edge.image"},
    "edge.commands": CLASSIFYING | {"edge.service", "edge.report", "edge.classifier"},
}
"""What each part of `edge` may import beside the modules at the bottom, and beside itself."""
MODULES_PER_FOLDER = 15
FMT_SKIPS = 20


def part_of(module: str) -> str:
    """`edge.report.page.svg` -> `edge.report`."""
    return ".".join(module.split(".")[:2])


@pytest.mark.parametrize("part", [*ALLOWED, *sorted(BOTTOM)])
def test_edge_imports_go_one_way(part: str) -> None:
    allowed = BOTTOM | {part} if part in BOTTOM else BOTTOM | {part} | ALLOWED[part]
    graph = module_graph(["edge"])
    wrong = {
        f"{module} imports {imported}"
        for module, imports in graph.items()
        for imported in imports
        if part_of(module) == part and imported != "edge" and part_of(imported) not in allowed
    }
    assert not wrong, "\n".join(sorted(wrong))


def test_every_part_of_edge_has_its_place_in_the_order() -> None:
    parts = {part_of(module) for module in module_graph(["edge"])} - {"edge"}
    assert parts == BOTTOM | set(ALLOWED)


@pytest.mark.parametrize(("top", "allowed"), [("edge", set()), ("train", {"edge"}), ("export", {"edge", "train"})])
def test_edge_imports_neither_and_export_imports_both(top: str, allowed: set[str]) -> None:
    graph = module_graph([*TOPS, "benchmarks", "tests"])
    others = {name.split(".")[0] for module in modules(top) for name in graph[module]} - {top}
    assert others <= allowed


def test_edge_never_imports_torch() -> None:
    heavy = {"torch", "torchvision", "timm"}
    assert not [str(path) for path in modules("edge").values() if imported_tops(path) & heavy]


@pytest.mark.parametrize("top", TOPS)
def test_folders_do_not_import_each_other_in_a_circle(top: str) -> None:
    assert cycles(folder_graph(module_graph([top]))) == []


@pytest.mark.parametrize("top", TOPS)
def test_modules_do_not_import_each_other_in_a_circle(top: str) -> None:
    assert cycles(module_graph([top])) == []


def test_the_reports_folders_are_seen_one_by_one() -> None:
    """The cycle check would say nothing of `edge.report.read` if it stood for all of `edge.report`."""
    graph = module_graph(["edge"])
    assert folder_of("edge.report.read.load", graph) == "edge.report.read"


def test_no_folder_is_crowded() -> None:
    sizes = Counter(path.parent for top in TOPS for path in modules(top).values() if path.name != "__init__.py")
    assert not {str(folder): size for folder, size in sizes.items() if size > MODULES_PER_FOLDER}


def test_no_test_imports_another_test_or_a_benchmark() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for name in imported_names(path)
        if name.split(".")[0] == "benchmarks" or re.fullmatch(r"tests\.(.*\.)?(test_\w+|conftest)(\..*)?", name)
    ]
    assert not wrong


def test_few_lines_are_kept_from_the_formatter() -> None:
    folders = (*TOPS, "benchmarks", "docs", "tests")
    sources = [path for top in folders for path in (ROOT / top).rglob("*.py") if path != Path(__file__)]
    marks = Counter({path.name: len(re.findall(r"# fmt: (?:skip|off)", path.read_text("utf-8"))) for path in sources})
    assert marks.total() < FMT_SKIPS, marks.most_common(10)


def imported_names(path: Path) -> set[str]:
    """Dotted names of everything that a file imports, `from a import b` as `a.b` and `a`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def imported_tops(path: Path) -> set[str]:
    """First parts of the imported names."""
    return {name.split(".")[0] for name in imported_names(path)}
