"""Lists every source file with the first line of its docstring; `make tree` puts the list into docs/architecture.md."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
FOLDERS = ("edge", "train", "export", "benchmarks", "tests/support")
BEGIN, END = "<!-- file tree: make tree -->", "<!-- end of file tree -->"


def tree() -> str:
    """The lines between the two marks of the page."""
    lines = ["```"]
    for top in FOLDERS:
        for folder in (ROOT / top, *sorted(path for path in (ROOT / top).rglob("*") if path.is_dir())):
            files = [(path.name, first) for path in sorted(folder.glob("*.py")) if (first := _first_line(path))]
            if files:
                lines.append(f"{folder.relative_to(ROOT).as_posix()}/")
                lines += [f"  {name:<26} {first}" for name, first in files]
    return "\n".join([*lines, "```"])


def _first_line(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return text.split("\n")[0]


def main() -> None:
    """Replace the list on the page."""
    text = PAGE.read_text("utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{tree()}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
