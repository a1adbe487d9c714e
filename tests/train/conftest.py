"""Made photographs and a tiny recipe, for tests that train."""

from pathlib import Path

import pytest

from tests.support.made_animals import write_animals
from tests.support.tiny_recipe import TINY


@pytest.fixture(scope="session")
def animals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of 36 made photographs: 3 labels, 4 places, 8 sequences."""
    return write_animals(tmp_path_factory.mktemp("animals"), each=12)


@pytest.fixture
def tiny_recipe(tmp_path: Path) -> Path:
    """Trains a network of a few thousand weights in seconds."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY, encoding="utf-8")
    return path
