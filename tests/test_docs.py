"""What is documented is there, and what is there is documented."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from docs.file_tree import tree

ROOT = Path(__file__).parents[1]
COMMANDS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
PAGES = "\n".join(path.read_text("utf-8") for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))])


def help_of(module: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; from {module} import main; sys.exit(main())", *arguments, "--help"],
        capture_output=True, text=True, timeout=60, cwd=ROOT, check=False, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help_and_a_place_in_the_manual(command: str) -> None:
    text = help_of(COMMANDS[command].split(":")[0])
    assert "usage" in text
    assert command in PAGES


def test_every_flag_of_edge_classify_is_in_the_manual() -> None:
    flags = set(re.findall(r"--[a-z][a-z-]+", help_of("edge.commands.classify")))
    missing = {flag for flag in flags if flag not in PAGES} - {"--help", "--verbose", "--quiet", "--second-look"}
    assert not missing


def test_the_readmes_file_tree_is_up_to_date() -> None:
    assert tree() in (ROOT / "README.md").read_text("utf-8"), "run: make tree"


def test_every_source_file_says_what_it_is_for() -> None:
    silent = [line.strip() for line in tree().splitlines() if line.startswith("  ") and len(line.split()) < 2]
    assert not silent


def test_links_between_pages_lead_somewhere() -> None:
    broken = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.name}: {target}")
    assert not broken


def test_importing_edge_loads_no_torch() -> None:
    modules = "edge.commands.classify, edge.service.pipeline, edge.database.store"
    code = f"import sys, edge; edge.Classifier; import {modules}; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True, timeout=60
    )
    assert done.stdout.strip() == "False"
