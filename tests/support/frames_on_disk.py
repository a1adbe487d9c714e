"""A camera whose logged frames lie on the disk: what `prune`, reports and attacks on the folder need."""

from contextlib import closing
from pathlib import Path

from edge.database.prune import PruneRules, prune
from edge.database.schema import open_database
from edge.image.decode import digest
from tests.support.database_by_hand import TAXA, ByHand

ALL = PruneRules(keep_best=0, rare=0, unknown_too=True)
"""Everything may go that is not kept for some other reason."""


class Camera:
    """A database whose frames lie on the disk."""

    def __init__(self, folder: Path, database: Path | None = None) -> None:
        self.folder = folder
        self.database = ByHand(database or folder / "d.db")
        self.database.deployment("ridge")
        self.database.deployment("ford")

    def frame(
        self,
        seconds: float | None,
        what: str,
        confidence: float = 0.9,
        camera: str = "ridge",
        content: bytes | None = None,
    ) -> int:
        """A frame with a file of its own; gives its media id."""
        media = self.database.frame(seconds, what, confidence, camera=camera)
        path = self.folder / f"IMG_{media:04}.JPG"
        path.write_bytes(b"frame %d" % media if content is None else content)
        status = path.stat()
        connection = self.database.connection
        connection.execute(
            "UPDATE media SET path = ?, digest = ?, bytes = ? WHERE id = ?",
            (str(path), digest(path.read_bytes()), status.st_size, media),
        )
        connection.execute(
            "INSERT INTO file (path, bytes, mtime_ns, media, seen_at) VALUES (?, ?, ?, ?, '')",
            (str(path), status.st_size, status.st_mtime_ns, media),
        )
        return media

    def candidate(self, media: int, what: str, probability: float, place: int = 1) -> None:
        self.database.connection.execute(
            "INSERT INTO candidate SELECT id, ?, ?, ?, ? FROM observation WHERE media = ? AND subject = 0",
            (place, TAXA[what].scientific_name, TAXA[what].rank, probability, media),
        )

    def may_go(self, rules: PruneRules = ALL) -> set[int]:
        with closing(open_database(self.database.path)) as connection:
            return {candidate.media for candidate, _ in prune(connection, rules, delete=False)}
