"""Hook of mkdocs: the pages at the top of the repository (README and others) become pages of the built manual."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}
COPIED = ("LICENSE",)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, with their links rewritten from the repository's top to the folder `docs`."""
    for name, target in PAGES.items():
        text = (ROOT / name).read_text("utf-8").replace("](docs/", "](").replace("](README.md", "](index.md")
        files.append(File.generated(config, target, content=text))
    for name in COPIED:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Let the manual's links to the README lead to the first page of the site."""
    return markdown.replace("](../README.md", "](index.md")
