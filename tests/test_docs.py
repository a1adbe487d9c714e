"""Commands, flags and files exist as documented, and are documented."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from docs.file_tree import FOLDERS, tree
from edge.settings.options import read_settings

ROOT = Path(__file__).parents[1]
COMMANDS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
TEXT = "\n".join(path.read_text("utf-8") for path in PAGES)


def help_of(module: str, *arguments: str) -> str:
    code = f"import sys; from {module} import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments, "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help_and_a_place_in_the_manual(command: str) -> None:
    text = help_of(COMMANDS[command].split(":")[0])
    assert "usage" in text
    assert command in TEXT


def test_every_flag_of_edge_classify_is_in_the_readme() -> None:
    flags = set(re.findall(r"--[a-z][a-z-]+", help_of("edge.commands.classify")))
    readme = (ROOT / "README.md").read_text("utf-8")
    missing = {flag for flag in flags if flag not in readme} - {"--help", "--verbose", "--quiet", "--second-look"}
    assert not missing


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 170


def test_the_file_tree_of_the_architecture_page_is_up_to_date() -> None:
    assert tree() in (ROOT / "docs/architecture.md").read_text("utf-8"), "run: make tree"


def test_every_source_file_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        if (text := path.read_text("utf-8")) and not ast.get_docstring(ast.parse(text))
    ]
    assert not silent


def test_links_between_pages_lead_somewhere() -> None:
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert not broken


def test_files_that_pages_name_exist() -> None:
    """Paths such as `edge/image/resize.py` and dotted names such as `python -m benchmarks.latency` in any page."""
    named = {
        *re.findall(
            r"`((?:edge|train|export|benchmarks|tests|docs|systemd)/[\w/.@-]+\.(?:py|md|toml|sh|csv|conf|service))",
            TEXT,
        ),
        *(f"{name.replace('.', '/')}.py" for name in re.findall(r"python -m ((?:benchmarks|tests)\.[\w.]+)", TEXT)),
    }
    assert len(named) > 10
    assert not [name for name in sorted(named) if not (ROOT / name).exists()]


def test_configurations_in_pages_are_read_as_they_stand(tmp_path: Path) -> None:
    blocks = [block for page in PAGES for block in re.findall(r"```toml\n(.*?)```", page.read_text("utf-8"), re.DOTALL)]
    assert len(blocks) >= 2
    for number, block in enumerate(blocks):
        path = tmp_path / f"{number}.toml"
        path.write_text(block, "utf-8")
        read_settings(path, {})


def test_importing_edge_loads_no_torch() -> None:
    modules = "edge.commands.classify, edge.commands.report, edge.service.pipeline, edge.database.store"
    code = f"import sys, edge; edge.Classifier; import {modules}; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True, timeout=60
    )
    assert done.stdout.strip() == "False"
