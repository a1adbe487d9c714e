"""One word has one meaning (the glossary of docs/architecture.md): words that were replaced must not come back.

Identifiers are taken apart into words (`second_look` -> second, look); text is every string,
docstring and comment of the sources, and the documentation.
"""

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
AREAS = {
    **{f"edge/{name}": f"edge/{name}" for name in ("capture", "commands", "database", "host", "image", "inference")},
    "edge/service": "edge/service",
    "edge/report": "edge/report",
    "train": "train",
    "export": "export",
    "benchmarks": "benchmarks",
    "tests": "tests",
}
PAGE_FILES = ("*.md", "docs/**/*.md", "systemd/*", "edge/report/page/templates/*", "train/recipes/**/*.toml")
PAGES = sorted({str(path.relative_to(ROOT)) for pattern in PAGE_FILES for path in ROOT.glob(pattern)})
NOT_AS_IDENTIFIERS = {
    "look": "crop or prediction",
    "looks": "crops or predictions",
    "looked": "predicted or reviewed",
    "glance": "crop",
    "sighting": "observation",
    "sightings": "observations",
    "visit": "event",
    "visits": "events",
    "picture": "image or frame",
    "pictures": "images or frames",
    "examinee": "frame",
    "patience": "retry schedule",
    "announcer": "console",
    "examiner": "frame processor",
    "taxonbook": "taxon index",
    "pulse": "host status",
}
PUBLIC_NAMES = {"second_look", "no_second_look", "pictures", "no_pictures"}
"""Names of flags, keys and columns that users' scripts depend on."""
PUBLIC_FLAGS = re.compile(r"--(?:no-)?(?:second-look|pictures)\b")
NOT_IN_TEXT = {
    r"\bsightings?\b": "observation",
    r"\bglances?\b": "crop",
    r"(?<![.`])\bpictures?\b(?! (?:INTEGER|= \?))": "image or frame",
    r"\b(?:first|second|both|one|two|further|closer)[ -]looks?\b": "crop (whole frame, attention crop)",
    r"\bgo(?:es)? before the\b": "override",
    r"\ballowed to speak\b": "species list",
    r"\blast word\b": "decision",
    r"\bhalf a frame\b": "incomplete file",
    r"\bthe box (?:is|was) alive\b": "device",
    r"\btaxon book\b": "taxon index",
    r"\bindependent visits?\b": "independent event",
    r"\bNobody (?:gave|said)\b": "not set",
}


def sources(folder: str) -> list[Path]:
    """The Python files of an area, this one left out."""
    return [path for path in sorted((ROOT / folder).rglob("*.py")) if path != Path(__file__)]


def tokens(path: Path) -> Iterator[tokenize.TokenInfo]:
    """The tokens of a file."""
    return tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline)


def words_of(identifier: str) -> list[str]:
    """`BoxedLook`, `boxed_look` -> boxed, look."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", identifier)]


@pytest.mark.parametrize("area", AREAS)
def test_no_identifier_uses_a_replaced_word(area: str) -> None:
    found = {
        f"{path.relative_to(ROOT)}:{token.start[0]}: {token.string} (say {NOT_AS_IDENTIFIERS[word]})"
        for path in sources(AREAS[area])
        for token in tokens(path)
        if token.type == tokenize.NAME and token.string not in PUBLIC_NAMES
        for word in words_of(token.string)
        if word in NOT_AS_IDENTIFIERS
    }
    assert not found, "\n".join(sorted(found))


def replaced_words(text: str) -> list[str]:
    """Each replaced word of the text with what to say instead; flags that users type are left alone."""
    text = PUBLIC_FLAGS.sub("", text)
    return [
        f"{match[0]!r} (say {instead})"
        for pattern, instead in NOT_IN_TEXT.items()
        for match in re.finditer(pattern, text)
    ]


@pytest.mark.parametrize("area", AREAS)
def test_no_text_of_the_sources_uses_a_replaced_word(area: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{token.start[0]}: {word}"
        for path in sources(AREAS[area])
        for token in tokens(path)
        if token.type in (tokenize.STRING, tokenize.COMMENT) or tokenize.tok_name[token.type].startswith("FSTRING")
        for word in replaced_words(token.string)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("page", PAGES)
def test_no_page_uses_a_replaced_word(page: str) -> None:
    lines = enumerate((ROOT / page).read_text("utf-8").splitlines(), 1)
    found = [f"{page}:{number}: {word}" for number, line in lines for word in replaced_words(line)]
    assert not found, "\n".join(found)
