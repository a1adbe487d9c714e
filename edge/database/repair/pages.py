"""The pages of a database file and the records on them, read without SQLite, which refuses a file that is damaged.

The format: https://www.sqlite.org/fileformat2.html, sections 1.3 (header), 1.6 (b-tree pages), 2.1 (records) and 4
(write-ahead log). Nothing here trusts a number of the file: each one is held against the file's bounds.
"""

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

INDEX_INTERIOR, TABLE_INTERIOR, INDEX_LEAF, TABLE_LEAF = 2, 5, 10, 13
BTREE_PAGES = frozenset((INDEX_INTERIOR, TABLE_INTERIOR, INDEX_LEAF, TABLE_LEAF))
USUAL_PAGE_BYTES = 4096  # SQLite's default, which this software never changes; a user's VACUUM may
_BTREE_BYTES = frozenset(bytes([kind]) for kind in BTREE_PAGES)
MAGIC = b"SQLite format 3\0"
_WAL_MAGICS = {0x377F0682: "<", 0x377F0683: ">"}
_WAL_HEADER, _FRAME_HEADER = 32, 24
_MOST_BYTES = 100_000_000
"""A longer record is none of ours: no value is bounded by less than a model's card, which has a few megabytes."""


class BadRecord(ValueError):
    """What is at this place is no record."""


class Text(bytes):
    """A value that is stored as text, before anyone knows whether it is UTF-8."""


Stored = int | float | bytes | None
"""A stored value; text is `Text`."""


@dataclass(frozen=True, slots=True)
class Record:
    """One row of a table, or one entry of an index."""

    number: int | None
    """The row's number; `None` in an index and in a table without row numbers."""
    values: tuple[Stored, ...]


class Pages:
    """The pages of a database, those that its write-ahead log holds in their newest form; numbered from 1."""

    def __init__(self, path: Path) -> None:
        self._main = _mapped(path)
        log = _mapped(path.with_name(path.name + "-wal"))
        self.log = WriteAheadLog(log, _header_page_bytes(self._main))
        if isinstance(log, mmap.mmap):
            log.close()
        self.page_bytes = self.log.page_bytes if self.log.pages else self._best_page_bytes()
        self.count = max(-(-len(self._main) // self.page_bytes), *self.log.pages, 0)
        self.first = next((number for number in self.find(MAGIC) if self[number].startswith(MAGIC)), 1)
        """The page with the database's header and the root of its schema; another than 1 where pages were exchanged."""

    def close(self) -> None:
        """Give the file back: a handle that is closed later would take SQLite's locks on it along."""
        if isinstance(self._main, mmap.mmap):
            self._main.close()

    def __getitem__(self, number: int) -> bytes:
        page = self.log.pages.get(number)
        if page is None:
            start = (number - 1) * self.page_bytes
            page = self._main[start : start + self.page_bytes]
        return page  # the last one is shorter where the file was cut: what it lacks is not zeros

    def find(self, words: bytes) -> Iterator[int]:
        """Numbers of the pages that hold some bytes."""
        for number, page in self.log.pages.items():
            if words in page:
                yield number
        at = self._main.find(words)
        while at >= 0:
            yield at // self.page_bytes + 1
            at = self._main.find(words, (at // self.page_bytes + 1) * self.page_bytes)

    def kind(self, number: int) -> int:
        """The first byte of a page's header; that of a b-tree's page is one of `BTREE_PAGES`."""
        page = self[number]
        head = self._head(number, page)
        return page[head] if len(page) >= head + 12 else 0

    def _head(self, number: int, page: bytes) -> int:
        """Where a page's own header begins: that of the database comes before it on the first."""
        is_first = page.startswith(MAGIC) or (number == 1 and page[:1] not in _BTREE_BYTES)
        return 100 if is_first else 0

    def is_empty(self, number: int) -> bool:
        """Whether a page says that no record is on it."""
        page = self[number]
        head = self._head(number, page)
        return page[head + 3 : head + 5] == bytes(2)

    def children(self, number: int) -> list[int]:
        """The pages to which an interior page leads."""
        if self.kind(number) not in (INDEX_INTERIOR, TABLE_INTERIOR):
            return []
        page = self[number]
        head = self._head(number, page)
        found = []
        for cell in _cells(page, head):
            if cell + 4 <= len(page):
                found.append(int.from_bytes(page[cell : cell + 4], "big"))
        found.append(int.from_bytes(page[head + 8 : head + 12], "big"))
        return [child for child in found if 1 < child <= self.count]

    def tree(self, root: int) -> Iterator[int]:
        """Numbers of the pages of a tree; each once, whatever the pages say."""
        seen, waiting = set(), [root]
        while waiting:
            number = waiting.pop()
            if number not in seen and 1 <= number <= self.count:
                seen.add(number)
                yield number
                waiting += reversed(self.children(number))

    def free(self) -> set[int]:
        """Pages that the file says are not in use, as far as its list of them can be followed."""
        header, found, seen = self[self.first], set[int](), set[int]()
        if header[:16] != MAGIC:
            return found
        trunk = int.from_bytes(header[32:36], "big")
        while 1 < trunk <= self.count and trunk not in seen:
            seen.add(trunk)
            page = self[trunk]
            number = int.from_bytes(page[4:8], "big")
            if 4 * number + 8 > len(page):
                break
            leaves = struct.unpack_from(f">{number}I", page, 8)
            if any(not 1 < leaf <= self.count for leaf in leaves):
                break
            found.update(leaves, (trunk,))
            trunk = int.from_bytes(page[:4], "big")
        return found

    def records(self, number: int, most: int | None = None) -> Iterator[Record | None]:
        """The records on a page, `None` for each that is broken."""
        kind = self.kind(number)
        page = self[number]
        head = self._head(number, page)
        if kind not in (INDEX_INTERIOR, INDEX_LEAF, TABLE_LEAF):
            return
        for cell in _cells(page, head)[:most]:
            try:
                yield self._record(page, kind, cell)
            except (BadRecord, IndexError, struct.error):
                yield None

    def _record(self, page: bytes, kind: int, at: int) -> Record:
        if kind == INDEX_INTERIOR:
            at += 4
        payload_bytes, at = varint(page, at)
        row = None
        if kind == TABLE_LEAF:
            row, at = varint(page, at)
            row -= (row >> 63) << 64
        if not 0 < payload_bytes <= min(_MOST_BYTES, self.count * self.page_bytes):
            raise BadRecord
        usable = self.page_bytes
        most_local = usable - 35 if kind == TABLE_LEAF else (usable - 12) * 64 // 255 - 23
        if payload_bytes <= most_local:
            payload = page[at : at + payload_bytes]
        else:
            least = (usable - 12) * 32 // 255 - 23
            local = least + (payload_bytes - least) % (usable - 4)
            local = local if local <= most_local else least
            first = int.from_bytes(page[at + local : at + local + 4], "big")
            payload = page[at : at + local] + self._overflow(first, payload_bytes - local)
        if len(payload) != payload_bytes:
            raise BadRecord
        return Record(row, _values(payload))

    def _overflow(self, number: int, left: int) -> bytes:
        """The rest of a long record. Its chain of pages ends where its length says, else another's pages are in it."""
        parts, seen = [], set[int]()
        while left > 0:
            if not 1 < number <= self.count or number in seen:
                raise BadRecord
            seen.add(number)
            page = self[number]
            parts.append(page[4 : 4 + min(left, self.page_bytes - 4)])
            left -= self.page_bytes - 4
            number = int.from_bytes(page[:4], "big")
        if number != 0:
            raise BadRecord
        return b"".join(parts)

    def _best_page_bytes(self) -> int:
        """The size that the header tells, unless the pages of the usual size look more like pages."""
        told = _header_page_bytes(self._main)
        if told in (None, USUAL_PAGE_BYTES):
            return USUAL_PAGE_BYTES

        def likeness(size: int) -> float:
            starts = range(size, len(self._main), size * max(1, len(self._main) // size // 200))
            return sum(self._main[start] in BTREE_PAGES for start in starts) / max(1, len(starts))

        return max((USUAL_PAGE_BYTES, told), key=likeness)


class WriteAheadLog:
    """The pages of a write-ahead log's whole transactions.

    Every frame holds the checksum of all before it, so one can be checked from the frame before: behind a broken frame
    whole transactions are found, where SQLite stops reading.
    """

    def __init__(self, content: "mmap.mmap | bytes", page_bytes: int | None) -> None:
        self.pages: dict[int, bytes] = {}
        self.is_broken = False
        """Whether whole transactions come after a broken frame: the log was damaged after it was written."""
        self.page_bytes = page_bytes or USUAL_PAGE_BYTES
        if len(content) < _WAL_HEADER + _FRAME_HEADER:
            return
        magic, _, told = struct.unpack_from(">3I", content)
        order = _WAL_MAGICS.get(magic, "<")
        if _is_page_size(told):
            self.page_bytes = told
        size = _FRAME_HEADER + self.page_bytes
        starts = range(_WAL_HEADER, len(content) - size + 1, size)
        salts = content[16:24]
        before = struct.unpack_from(">2I", content, 24)
        if starts and content[_WAL_HEADER + 8 : _WAL_HEADER + 16] != salts:
            # Either an empty log before which older frames lie, or a damaged header: frames that agree tell which.
            second = content[starts[1] + 8 : starts[1] + 16] if len(starts) > 1 else b""
            if magic in _WAL_MAGICS and _checksum(content[:24], order, (0, 0)) == before:
                return
            salts = second
        held, whole, broken = dict[int, bytes](), True, False
        for start in starts:
            head, page = content[start : start + _FRAME_HEADER], content[start + _FRAME_HEADER : start + size]
            number, commit = struct.unpack_from(">2I", head)
            told_sum = struct.unpack_from(">2I", head, 16)
            if head[8:16] != salts or _checksum(head[:8] + page, order, before) != told_sum:
                whole, broken = False, True
            else:
                held[number] = page
            before = told_sum
            if head[8:16] == salts and commit:
                if whole:
                    self.pages.update(held)
                    self.is_broken = self.is_broken or broken
                held, whole = {}, True


def _checksum(content: bytes, order: str, before: tuple[int, int]) -> tuple[int, int]:
    first, second = before
    words = struct.unpack(f"{order}{len(content) // 4}I", content)
    for index in range(0, len(words), 2):
        first = (first + words[index] + second) & 0xFFFFFFFF
        second = (second + words[index + 1] + first) & 0xFFFFFFFF
    return first, second


def _mapped(path: Path) -> "mmap.mmap | bytes":
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (FileNotFoundError, ValueError):  # an empty file has nothing to map
        return b""


def _is_page_size(size: int) -> bool:
    return 512 <= size <= 65536 and not size & (size - 1)


def _header_page_bytes(content: "mmap.mmap | bytes") -> int | None:
    size = int.from_bytes(content[16:18], "big")
    size = 65536 if size == 1 else size
    return size if _is_page_size(size) else None


def _cells(page: bytes, head: int) -> tuple[int, ...]:
    """Where the cells of a page begin."""
    first = head + (12 if page[head] in (INDEX_INTERIOR, TABLE_INTERIOR) else 8)
    cells = int.from_bytes(page[head + 3 : head + 5], "big")
    if first + 2 * cells > len(page):
        return ()
    return tuple(at for at in struct.unpack_from(f">{cells}H", page, first) if first + 2 * cells <= at < len(page))


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of variable length, and the place behind it."""
    value = data[at]
    if value < 0x80:
        return value, at + 1
    value &= 0x7F
    for place in range(at + 1, at + 8):
        byte = data[place]
        value = (value << 7) | (byte & 0x7F)
        if byte < 0x80:
            return value, place + 1
    return (value << 8) | data[at + 8], at + 9


_INTEGER_BYTES = (0, 1, 2, 3, 4, 6, 8)
"""Bytes of whole numbers, by type."""


def _values(payload: bytes) -> tuple[Stored, ...]:
    """The values of a record, whose lengths have to add up to its own."""
    header_bytes, at = varint(payload, 0)
    if not at <= header_bytes <= len(payload):
        raise BadRecord
    start = end = header_bytes
    values = list[Stored]()
    while at < header_bytes:
        kind, at = (payload[at], at + 1) if payload[at] < 0x80 else varint(payload, at)
        if kind >= 12:
            end = start + (kind - 12) // 2
            values.append(Text(payload[start:end]) if kind & 1 else payload[start:end])
        elif kind == 0:
            values.append(None)
        elif kind <= 6:
            end = start + _INTEGER_BYTES[kind]
            values.append(int.from_bytes(payload[start:end], "big", signed=True))
        elif kind == 7:
            end = start + 8
            values.append(float(struct.unpack_from(">d", payload, start)[0]))
        elif kind in (8, 9):
            values.append(kind - 8)
        else:
            raise BadRecord
        start = end
    if start != len(payload) or at != header_bytes:
        raise BadRecord
    return tuple(values)
