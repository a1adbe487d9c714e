"""Which frame of the database a file name from elsewhere means."""

import sqlite3
from collections import defaultdict
from pathlib import PurePosixPath


class Frames:
    """Classified frames by the ends of their paths.

    Names from elsewhere are relative to some other folder, on some other machine: the longest common end decides, and
    a name that fits several frames equally well fits none.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._by_name: dict[str, dict[tuple[str, ...], int]] = defaultdict(dict)
        self._digests: dict[str, int] = {}
        for id_, path, digest in connection.execute(
            "SELECT m.id, f.path, m.digest FROM file f JOIN media m ON m.id = f.media WHERE m.status = 'classified' "
            "UNION SELECT id, path, digest FROM media WHERE status = 'classified'"
        ):
            parts = _parts(path.decode("utf-8", "surrogateescape") if isinstance(path, bytes) else path)
            self._by_name[parts[-1]][parts] = id_
            self._digests[digest] = id_

    def by_digest(self, digest: str) -> int | None:
        """The frame of that content."""
        return self._digests.get(digest)

    def by_path(self, name: str) -> int | None:
        """The frame whose path shares the longest end with `name`, if there is exactly one."""
        wanted = _parts(name)
        best, length = set[int](), 0
        for parts, id_ in self._by_name.get(wanted[-1], {}).items() if wanted else ():
            shared = _shared_end(parts, wanted)
            if shared > length:
                best, length = {id_}, shared
            elif shared == length:
                best.add(id_)
        return best.pop() if len(best) == 1 else None


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part.lower() for part in PurePosixPath(path.replace("\\", "/")).parts if part not in ("/", "."))


def _shared_end(a: tuple[str, ...], b: tuple[str, ...]) -> int:
    shared = 0
    for x, y in zip(reversed(a), reversed(b), strict=False):
        if x != y:
            break
        shared += 1
    return shared
