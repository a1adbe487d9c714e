"""Where the checkout is, and where the real frames lie beside it."""

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
FIELD_FRAMES = REPOSITORY.parent / "shared" / "data" / "field" / "frames"


def field_frame_paths() -> list[Path]:
    """The real camera-trap frames in the order of their names; none where they are not beside the checkout."""
    return sorted(FIELD_FRAMES.rglob("*.[jJ][pP]*[gG]"))
