"""Rebuilds what a disk can hold after a power failure from the writes and syncs that the real daemon made.

strace records every call that changes a file of the database. A crash point is a place between two calls. Whatever was
written before the last sync of its file is on the disk. Of later writes the disk may hold any subset, the last of them
torn at a sector. A folder is a list of names: until the folder itself was synced, a new file may lack its name, and a
removed file may be back. (Most file systems promise far more than this. SQLite's shared-memory file is left out: it is
made new at every start.)
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512
CALLS = "openat,pwrite64,write,ftruncate,fsync,fdatasync,unlink,rename"
_CALL = re.compile(r"^(\w+)\((.*)\)\s+= (\d+)")
_HEX = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_PATH = re.compile(rb'"path": "[^"]*/([^/"]+)"')


@dataclass(frozen=True)
class Call:
    """One recorded change."""

    kind: str
    """create, write, truncate, sync, unlink, sync_folder, said"""
    name: str = ""
    offset: int = 0
    data: bytes = b""


@dataclass
class _File:
    durable: bytearray = field(default_factory=bytearray)
    pending: list[Call] = field(default_factory=list)

    def content(self, kept: list[Call]) -> bytes:
        return bytes(_applied(bytearray(self.durable), kept))

    def sync(self) -> None:
        self.durable, self.pending = _applied(self.durable, self.pending), []


def strace(trace: Path) -> list[str]:
    """The command line in front of the daemon's."""
    return f"strace -ff -o {trace} -y -xx -s 1000000 -e trace={CALLS} -e signal=none".split()


def read_trace(trace: Path, database: Path) -> list[Call]:
    """The changes that the daemon made to its database, and the frames that it announced, in order.

    One thread makes all changes, so the trace of that thread holds the whole order.
    """
    found: dict[Path, list[Call]] = {}
    for path in trace.parent.glob(f"{trace.name}.*"):
        lines = path.read_text("ascii", "replace").splitlines()
        found[path] = [call for line in lines if (call := _parse(line, database)) is not None]
    (calls,) = [calls for calls in found.values() if any(call.kind == "write" for call in calls)]
    existing: set[str] = set()
    kept = []
    for call in calls:
        if call.kind == "create":
            if call.name in existing:
                continue
            existing.add(call.name)
        elif call.kind == "unlink":
            existing.discard(call.name)
        kept.append(call)
    return kept


def _parse(line: str, database: Path) -> Call | None:
    match = _CALL.match(line)
    if match is None:
        return None
    call, arguments, result = match[1], match[2], int(match[3])
    texts = [bytes.fromhex(text.replace("\\x", "")) for text in _HEX.findall(arguments)]
    path = b""
    if (opened := re.match(r"\d+<((?:\\x[0-9a-f]{2})*)>", arguments)) is not None:
        path = bytes.fromhex(opened[1].replace("\\x", ""))
    if call == "write" and arguments.startswith("1<"):
        said = _PATH.search(texts[0][:result])
        return None if said is None else Call("said", said[1].decode())
    if call in ("openat", "unlink"):
        path = texts[0]
    name = Path(path.decode()).name
    if path.decode() == str(database.parent) and call in ("fsync", "fdatasync"):
        return Call("sync_folder")
    if not name.startswith(database.name) or name.endswith(("-shm", ".lock")):
        return None
    if call == "openat":
        return Call("create", name) if "O_CREAT" in arguments else None
    if call == "pwrite64":
        return Call("write", name, int(arguments.rsplit(", ", 1)[1]), texts[0][:result])
    if call == "ftruncate":
        return Call("truncate", name, int(arguments.rsplit(", ", 1)[1]))
    if call in ("fsync", "fdatasync"):
        return Call("sync", name)
    if call == "unlink":
        return Call("unlink", name)
    raise ValueError(f"the daemon changed its database in a way that is not rebuilt here: {call} {name}")


@dataclass(frozen=True)
class Wreck:
    """One state of the disk after a power loss."""

    files: dict[str, bytes]
    said: frozenset[str]
    """Names of the frames that the daemon had announced."""
    what: str


def wrecks(calls: list[Call], points: set[int], seed: int, subsets: int) -> Iterator[Wreck]:
    """The states that are possible at the given crash points: nothing of the unsynced, all of it, and samples."""
    chance = random.Random(seed)
    files: dict[str, _File] = {}
    names: set[str] = set()
    name_changes: list[Call] = []
    said: set[str] = set()
    for number, call in enumerate(calls):
        if number in points:
            for kind in ("none", "all", "torn", *["some"] * subsets):
                yield _wreck(files, names, name_changes, said, kind, number, chance)
        if call.kind == "said":
            said.add(call.name)
        elif call.kind == "sync_folder":
            names, name_changes = _named(names, name_changes), []
        elif call.kind in ("create", "unlink"):
            name_changes.append(call)
            if call.kind == "create":
                files[call.name] = _File()
        elif call.kind == "sync":
            files[call.name].sync()
        else:
            files[call.name].pending.append(call)


def _wreck(
    files: dict[str, _File],
    names: set[str],
    name_changes: list[Call],
    said: set[str],
    kind: str,
    number: int,
    chance: random.Random,
) -> Wreck:
    count = {"none": 0, "all": len(name_changes)}.get(kind, chance.randint(0, len(name_changes)))
    there = _named(names, name_changes[:count])
    content = {}
    for name, file in files.items():
        kept = list(file.pending)
        if kind == "none":
            kept = []
        elif kind == "some":
            kept = [call for call in kept if chance.random() < 0.5]
        if kind in ("torn", "some") and kept:
            kept[-1] = _torn(kept[-1], chance)
        if name in there:
            content[name] = file.content(kept)
    return Wreck(content, frozenset(said), f"before call {number}, {kind} of what was not synced")


def _torn(call: Call, chance: random.Random) -> Call:
    """Only the sectors before some place in the middle were written."""
    if call.kind != "write":
        return call
    first = call.offset - call.offset % SECTOR
    cut = chance.randrange(first, call.offset + len(call.data), SECTOR)
    return Call("write", call.name, call.offset, call.data[: max(0, cut - call.offset)])


def _named(names: set[str], changes: list[Call]) -> set[str]:
    result = set(names)
    for call in changes:
        (result.add if call.kind == "create" else result.discard)(call.name)
    return result


def _applied(content: bytearray, calls: list[Call]) -> bytearray:
    for call in calls:
        if call.kind == "truncate":
            del content[call.offset :]
            content.extend(bytes(call.offset - len(content)))
        elif call.data:
            content.extend(bytes(max(0, call.offset - len(content))))
            content[call.offset : call.offset + len(call.data)] = call.data
    return content
