"""Prints one line for each source file, from its own first words; `make tree` puts it into the README."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("edge", "train", "export", "benchmarks")
BEGIN, END = "<!-- file tree: make tree -->", "<!-- end of file tree -->"


def tree() -> str:
    """The lines between the README's two marks."""
    lines = ["```"]
    for folder in FOLDERS:
        lines.append(f"{folder}/")
        for path in sorted((ROOT / folder).rglob("*.py")):
            first = _first_line(path)
            if first:
                name = path.relative_to(ROOT / folder).as_posix()
                lines.append(f"  {name:<38} {first}")
    return "\n".join([*lines, "```"])


def _first_line(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return text.split("\n")[0]


def main() -> None:
    readme = ROOT / "README.md"
    text = readme.read_text("utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    readme.write_text(f"{before}{BEGIN}\n{tree()}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
