"""Which frame of the database a file name from elsewhere means.

Names from elsewhere are relative to some folder, on some other machine. A name means a frame when both agree from the
end up to where one of them ends: `SiteA/IMG_1.JPG` means `/cap/SiteA/IMG_1.JPG`, and `SiteB/IMG_1.JPG` does not,
although the file is called the same. What fits several frames means none.
"""

import re
import sqlite3
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

Parts = tuple[str, ...]
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
# Folders that every camera makes on its card tell nothing of the place.
_NAMED = 5
_MOST_SPELLINGS = 50
"""Frames whose names differ in nothing but case, as one folder may hold them."""
_OF_CAMERAS = re.compile(r"dcim|\d{3}[a-z0-9_]{5}")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """What an import says of one file."""

    name: str
    """The path or the URL that the import gives."""
    digest: str = ""
    """What may be a content digest of ours; it is believed before any name."""
    file_name: str = ""
    """The camera's name of the file, where `name` may be one of a server."""
    deployment: str = ""
    """Counts only where it is the name of a deployment here."""


@dataclass(slots=True)
class Matches:
    """The frame of each entry."""

    media: list[int | None]
    unclear: dict[int, str] = field(default_factory=dict)
    """By place of the entry: why it means no frame although frames fit, and what to do; empty where an equal entry has
    the frame.
    """
    replaced_root: tuple[str, str] | None = None
    """The leading folders of the import's names, and the folder here that they stand for."""


class _Fit(NamedTuple):
    """A frame that agrees with a name up to its root."""

    media: int
    root: tuple[Parts, Parts]
    """What the name has in front of the part that agrees, and what the frame's path has."""
    folders: Parts


class Frames:
    """Classified frames by the ends of their paths."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._digests: dict[str, int] = {}
        self._paths: dict[str, dict[str, list[tuple[Parts, int]]]] = defaultdict(lambda: defaultdict(list))
        self._folders: set[Parts] = set()
        known: dict[str, Parts] = {}
        for media, path, digest in connection.execute(
            "SELECT m.id, CAST(f.path AS BLOB), CAST(m.digest AS BLOB) FROM file f JOIN media m ON m.id = f.media "
            "WHERE m.status = 'classified' "
            "UNION SELECT id, CAST(path AS BLOB), CAST(digest AS BLOB) FROM media WHERE status = 'classified'"
        ):
            text = path.decode("utf-8", "surrogateescape")
            folder, _, name = text.rpartition("/")
            folders = known.get(folder)
            if folders is None:
                folders = known[folder] = parts_of(folder)
            self._paths[_same(name)][folders[-1] if folders else ""].append((folders, media))
            self._digests[(digest or b"").decode("utf-8", "replace")] = media
        self._folders = set(known.values())
        self._folder_names = {name for folders in self._folders for name in folders}
        self._deployments = {
            id_.decode("utf-8", "replace")
            for (id_,) in connection.execute("SELECT CAST(id AS BLOB) FROM deployment WHERE id IS NOT NULL")
        }

    def match(
        self, entries: Sequence[FileEntry], strip: str = "", equal: Callable[[int, int], bool] = lambda i, j: False
    ) -> Matches:
        """Find the frame of each entry; names are judged together, for they share a root.

        `strip` is a leading folder to take off the names. Two entries that mean one frame mean none, unless they are
        `equal` (by their places).
        """
        matches = Matches([self._digests.get(entry.digest) if entry.digest else None for entry in entries])
        stripped = parts_of(strip)
        names = [_without(_path_parts(entry), stripped) for entry in entries]
        fits: list[list[_Fit]] = []
        first: dict[FileEntry, int] = {}
        for place, (entry, media) in enumerate(zip(entries, matches.media, strict=True)):
            if (alike := first.setdefault(entry, place)) < place:
                fits.append(fits[alike])
                names[place] = names[alike]
                continue
            fits.append([] if media is not None else list(self._agreeing(names[place])))
            camera_name = parts_of(entry.file_name)
            if media is None and not fits[-1] and camera_name and names[place][-1:] != camera_name[-1:]:
                fits[-1] = list(self._agreeing(camera_name))
                names[place] = ()  # a name of a server's own, which shows no root
            elif _is_url(entry.name):
                names[place] = ()
            fits[-1] = [fit for fit in fits[-1] if self._may_be(fit, entry)]
        if not any(fits):
            fits = self._fits_without_roots(names, matches)
        claimed = self._settle(entries, names, fits, matches)
        self._refuse_shared(entries, claimed, equal, matches)
        return matches

    def named(self, name: str) -> list[int]:
        """All frames that a name of one file fits."""
        return sorted({fit.media for fit in self._agreeing(parts_of(name))})

    def path_of(self, media: int) -> str:
        """The path of a frame, for people."""
        (path,) = self._connection.execute("SELECT CAST(path AS BLOB) FROM media WHERE id = ?", (media,)).fetchone()
        return str(path.decode("utf-8", "backslashreplace"))

    def _may_be(self, fit: _Fit, entry: FileEntry) -> bool:
        """Whether nothing else that an entry says contradicts a frame."""
        if _is_url(entry.name):
            # A server's folders are its own, but where one is called as one of ours, it means that.
            wanted = {_same(part) for part in _url_path(entry.name)[:-1]} & self._folder_names
            if not {part for part in wanted if not _OF_CAMERAS.fullmatch(part)} <= set(fit.folders):
                return False
        return entry.deployment not in self._deployments or self._deployment_of(fit.media) in (None, entry.deployment)

    def _agreeing(self, name: Parts) -> Iterator[_Fit]:
        """Frames that agree with `name` from the end up to where one of both ends."""
        for folders, media in self._called_alike(name):
            above = name[:-1]
            shared = min(len(folders), len(above))
            if folders[len(folders) - shared :] == above[len(above) - shared :]:
                yield _Fit(media, (above[: len(above) - shared], folders[: len(folders) - shared]), folders)

    def _called_alike(self, name: Parts) -> Iterable[tuple[Parts, int]]:
        """Frames whose file, and whose folder where the name has one, are called as the name says."""
        if not name:
            return ()
        by_folder = self._paths.get(name[-1], {})
        if len(name) > 1:
            return [*by_folder.get(name[-2], ()), *by_folder.get("", ())]
        return [frame for frames in by_folder.values() for frame in frames]

    def _fits_without_roots(self, names: Sequence[Parts], matches: Matches) -> list[list[_Fit]]:
        """Frames that agree with the names but for a root: leading folders that all names share, in place of leading
        folders that all frames share. One root for all names, and a folder that tells the place must agree.
        """
        lead = len(_common([name[:-1] for name in names if name]))
        ours = len(_common(list(self._folders)))
        fits: list[list[_Fit]] = [[] for _ in names]
        votes: Counter[tuple[Parts, Parts]] = Counter()
        for name, found in zip(names, fits, strict=True):
            for folders, media in self._called_alike(name) if len(name) > 1 else ():
                shared = _shared_end(folders, name[:-1])
                root = (name[: len(name) - 1 - shared], folders[: len(folders) - shared])
                telling = any(not _OF_CAMERAS.fullmatch(part) for part in folders[len(folders) - shared :])
                if len(root[0]) <= lead and len(root[1]) <= ours and telling:
                    found.append(_Fit(media, root, folders))
            votes.update({fit.root for fit in found})
        if not votes:
            return fits
        (best, most), *others = votes.most_common(2)
        if others and others[0][1] == most:
            return [[] for _ in names]
        matches.replaced_root = ("/".join(best[0]), "/" + "/".join(best[1]))
        return [[fit for fit in found if fit.root == best] for found in fits]

    def _settle(
        self, entries: Sequence[FileEntry], names: Sequence[Parts], fits: list[list[_Fit]], matches: Matches
    ) -> dict[int, int]:
        """Take the one frame that fits; names with folders that fit one frame show the roots for the others.

        Gives the frames that names without a folder fit, although they do not lie in these roots.
        """
        claimed: dict[int, int] = {}
        roots = {
            fit.root
            for name, found in zip(names, fits, strict=True)
            for fit in found
            if len(name) > 1 and len({fit.media for fit in found}) == 1
        }
        first: dict[FileEntry, int] = {}
        for place, (name, found) in enumerate(zip(names, fits, strict=True)):
            if (alike := first.setdefault(entries[place], place)) < place:
                matches.media[place] = matches.media[alike]
                if alike in claimed:
                    claimed[place] = claimed[alike]
                if alike in matches.unclear:
                    matches.unclear[place] = matches.unclear[alike]
                continue
            media = {fit.media for fit in found}
            if roots and (len(media) > 1 or len(name) == 1):
                near = {fit.media for fit in found if fit.root in roots}
                if not near and len(media) == 1:
                    claimed[place] = media.pop()
                media = near or media
            if 1 < len(media) <= _MOST_SPELLINGS:
                spelled = {m for m in media if self.path_of(m).endswith(entries[place].name.replace("\\", "/"))}
                media = spelled if len(spelled) == 1 else media
            if len(media) == 1:
                matches.media[place] = media.pop()
            elif media:
                paths = ", ".join(self.path_of(m) for m in sorted(media)[:3])
                matches.unclear[place] = (
                    f"{entries[place].name} fits {len(media)} frames ({paths}{', ...' if len(media) > 3 else ''}); give"
                    " the name with its folder"
                )
        return claimed

    def _refuse_shared(
        self,
        entries: Sequence[FileEntry],
        claimed: dict[int, int],
        equal: Callable[[int, int], bool],
        matches: Matches,
    ) -> None:
        """Entries that mean, or without a folder would mean, the frame of another entry mean none."""
        owners: dict[int, list[int]] = defaultdict(list)
        for place, media in enumerate(matches.media):
            if media is not None:
                owners[media].append(place)
        for place, media in claimed.items():
            owners[media].append(place)
        for media, places in owners.items():
            first, *others = places
            if not others:
                continue
            if all(equal(first, other) for other in others):
                for other in others:
                    matches.media[other] = None
                    matches.unclear[other] = ""
                continue
            names = " and ".join(_described(entries[place]) for place in places[:_NAMED])
            if len(places) > _NAMED:
                names += f" and {len(places) - _NAMED} more"
            for place in places:
                matches.media[place] = None
                matches.unclear[place] = (
                    f"{names} mean the same frame {self.path_of(media)}; nothing of them was imported; leave out all"
                    " but one, or give names with folders"
                )

    def _deployment_of(self, media: int) -> str | None:
        (deployment,) = self._connection.execute(
            "SELECT CAST(deployment AS BLOB) FROM media WHERE id = ?", (media,)
        ).fetchone()
        return None if deployment is None else deployment.decode("utf-8", "replace")


def parts_of(path: str) -> Parts:
    """Folders and name of a path of any system, as they are compared: without case, accents composed."""
    folder, _, name = path.replace("\\", "/").rpartition("/")
    return (*_folders_of(folder), _same(name)) if name not in ("", ".") else _folders_of(folder)


@lru_cache(10_000)
def _folders_of(path: str) -> Parts:
    return tuple(_same(part) for part in path.split("/") if part not in ("", "."))


def _same(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _is_url(name: str) -> bool:
    return _URL.match(name) is not None and not name.lower().startswith("file://")


def _url_path(name: str) -> list[str]:
    return [unquote(part) for part in urlsplit(name).path.split("/") if part]


def _path_parts(entry: FileEntry) -> Parts:
    """What of an entry is compared with paths. Of a URL only the name of the file, which may stand beside it."""
    if _is_url(entry.name):
        return parts_of(entry.file_name) or tuple(_same(part) for part in _url_path(entry.name)[-1:])
    if entry.name.lower().startswith("file://"):
        return parts_of("/".join(_url_path(entry.name)))
    return parts_of(entry.name or entry.file_name)


def _described(entry: FileEntry) -> str:
    name = entry.name or entry.file_name
    return f"{name} ({entry.digest})" if entry.digest else name


def _without(name: Parts, lead: Parts) -> Parts:
    return name[len(lead) :] if lead and len(name) > len(lead) and name[: len(lead)] == lead else name


def _common(folders: Sequence[Parts]) -> Parts:
    """The leading folders that all share."""
    if not folders:
        return ()
    first, last = min(folders), max(folders)
    return first[: next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))]


def _shared_end(a: Parts, b: Parts) -> int:
    pairs = zip(reversed(a), reversed(b), strict=False)
    return next((i for i, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b)))
