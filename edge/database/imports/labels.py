"""`edge-db import labels FILE`: a table of what people saw in which file, as spreadsheets and Timelapse write it."""

import re
import sqlite3
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from edge.database.events.table import update_events
from edge.database.imports.file_matching import FileEntry, Frames, parts_of
from edge.database.imports.human_acts import Acts, HumanLine
from edge.database.imports.import_result import ImportProblem, ImportResult
from edge.database.imports.named_label import TaxonNames
from edge.database.imports.table_file import LARGEST_BYTES, BadValue, Table, TableRow, count_of, read_table
from edge.database.transaction import writing
from edge.host.named_file import open_named
from edge.vocabulary import Kind

SOURCE = "labels"
# What a column may be called, without case, spaces and signs.
_COLUMNS = {
    "folder": ("relativepath",),
    "file": ("file", "filename", "filepath", "path", "image", "imagename", "imagefile", "photo"),
    "scientific": ("scientificname", "latinname", "taxonname"),
    "name": ("species", "commonname", "taxon", "label", "animal", "name", "speciesname", "vernacularname"),
    "rank": ("rank", "taxonrank"),
    "count": ("count", "number", "individuals", "individualcount", "quantity", "howmany", "n"),
    "sex": ("sex", "gender"),
    "life_stage": ("lifestage", "age", "ageclass", "stage"),
    "behaviour": ("behaviour", "behavior", "activity"),
    "individual": ("individualid", "individual"),
    "note": ("note", "notes", "comment", "comments", "remarks"),
    "by": ("by", "person", "observer", "analyst", "annotator", "labelledby", "labeledby", "classifiedby"),
}


def import_labels(connection: sqlite3.Connection, path: Path, by: str, strip: str = "") -> ImportResult:
    """Read a table with a row for each label; all rows of one person on one file are one act.

    Rows without a name say nothing. `by` is the person where the table names none; `strip` is a leading folder to take
    off the names. A row that cannot be meant is left out and named. One transaction. Raises `ImportProblem`.
    """
    table = _read(path)
    outcome = ImportResult(bad_rows=table.bad_rows)
    names = TaxonNames(connection)
    said: dict[tuple[str, ...], dict[str, list[HumanLine]]] = defaultdict(lambda: defaultdict(list))
    written: dict[tuple[str, ...], str] = {}
    for row in table.rows:
        try:
            line = _line(row, names)
        except BadValue as error:
            outcome.bad_rows.append(f"{path.name} line {row.line}: {error}; the row was left out")
            continue
        if line is None:
            outcome.passed_over += 1
            continue
        file = _file(row)
        if not (key := parts_of(file)):
            outcome.bad_rows.append(f"{path.name} line {row.line}: no file is named; the row was left out")
            continue
        written.setdefault(key, file)
        said[key][row.get("by") or by].append(line)
    keys = list(said)
    entries = [FileEntry(written[key]) for key in keys]
    matches = Frames(connection).match(entries, strip)
    outcome.take(matches, entries)
    with writing(connection):
        changed = set()
        for key, media in zip(keys, matches.media, strict=True):
            if media is None:
                continue
            outcome.frames += 1
            known = Acts(connection, media)
            for person, lines in said[key].items():
                outcome.rows += len(lines)
                if known.save(SOURCE, person, lines):
                    outcome.new_rows += len(lines)
                    changed.add(media)
        update_events(connection, changed)
    return outcome


def _read(path: Path) -> Table:
    """The table under our own names of its columns."""
    try:
        with open_named(path, LARGEST_BYTES) as file:
            table = read_table(file, path.name)
    except OSError as error:
        raise ImportProblem(f"{path} cannot be read ({error.strerror}); check the path") from error
    except ValueError as error:
        raise ImportProblem(f"{path} is no table ({error}); nothing was imported; save it as CSV in UTF-8") from error
    by_word = {word: column for column, words in _COLUMNS.items() for word in words}
    columns: dict[str, str] = {}
    for name in table.header:
        column = by_word.get(re.sub(r"[^a-z]", "", name.lower()))
        if column is not None:
            columns.setdefault(column, name)
    if "file" not in columns or not {"scientific", "name"} & columns.keys():
        raise ImportProblem(
            f"{path}: the columns are {', '.join(table.header)[:200]}; expected file and species (or scientific or"
            " common name); nothing was imported"
        )
    rows = [TableRow(row.line, {column: row.get(name) for column, name in columns.items()}) for row in table.rows]
    return Table(table.header, rows, table.bad_rows)


def _file(row: TableRow) -> str:
    """Timelapse keeps the folder in a column of its own."""
    folder = row.get("folder").replace("\\", "/").strip("/")
    return f"{folder}/{row.get('file')}" if folder else row.get("file")


def _line(row: TableRow, names: TaxonNames) -> HumanLine | None:
    """What a row says; `None` for one that nobody has filled in. Raises `BadValue`."""
    scientific = row.get("scientific")
    if not (name := scientific or row.get("name")):
        return None
    line = names.meaning(name, row.get("rank"), scientific=bool(scientific))
    counted = line.kind not in (Kind.BLANK, Kind.UNKNOWN)
    return replace(
        line,
        count=count_of(row.get("count"), "count") if counted else None,
        sex=row.get("sex") or None,
        life_stage=row.get("life_stage") or None,
        behaviour=row.get("behaviour") or None,
        individual_id=row.get("individual") or None,
        note=row.get("note") or None,
    )
