"""Delimited text as spreadsheets write it: comma, semicolon or tab, with or without a byte-order mark."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import IO

from edge.database.imports.import_result import LeftOut
from edge.host.text_file import encoding_of

LARGEST_BYTES = 1_000_000_000
MOST_ROWS = 5_000_000
LONGEST_LINE = 1_000_000
MOST_ANIMALS = 1_000_000
_DELIMITERS = ",;\t"
_NO_VALUE = ("", "NA", "N/A", "NaN", "nan", "NULL")


class BadValue(ValueError):
    """A value that cannot be meant: what is there and what was expected."""


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row: the number of its line in the file, and the values that are given by the header's names."""

    line: int
    values: dict[str, str]

    def get(self, *names: str) -> str:
        """The first value that is given under any of the names."""
        return next((value for name in names if (value := self.values.get(name, ""))), "")


@dataclass(slots=True)
class Table:
    """A table as it was read."""

    header: list[str]
    rows: list[TableRow] = field(default_factory=list)
    bad_rows: LeftOut = field(default_factory=LeftOut)
    """Rows that are no text, or that have more values than the header has names."""


def read_table(file: IO[bytes], name: str) -> Table:
    """Read a table from a file that is open; `name` is what messages call it. Raises `ValueError` for no table."""
    lines = _lines(file, name)
    first, skipped, delimiter = next(lines, ""), 0, ""
    if first.lower().startswith("sep=") and len(first.strip()) == 5:  # Excel's own line
        delimiter, first, skipped = first.strip()[4], next(lines, ""), 1
    try:
        delimiter = delimiter or max(_DELIMITERS, key=lambda sign: len(next(csv.reader([first], delimiter=sign), [])))
    except csv.Error as error:
        raise ValueError(f"{name}: {error}") from error
    reader = csv.reader(chain([first], lines), delimiter=delimiter)
    table = Table([])
    known: dict[str, str] = dict.fromkeys(_NO_VALUE, "")
    """Values that repeat are kept once."""
    while True:
        try:
            values = [value.strip() for value in next(reader)]
        except StopIteration:
            return table
        except csv.Error as error:
            if not table.header:
                raise ValueError(f"{name}: {error}") from error
            table.bad_rows.append(f"{name} line {reader.line_num + skipped}: {error}; the row was left out")
            continue
        if not table.header:
            table.header = values
        elif any(values):
            _add(table, values, f"{name} line {reader.line_num + skipped}", reader.line_num + skipped, known)


def _add(table: Table, values: list[str], where: str, line: int, known: dict[str, str]) -> None:
    if any(values[len(table.header) :]):
        table.bad_rows.append(
            f"{where}: {len(values)} values; expected {len(table.header)} as in the header; the row was left out"
        )
        return
    if "\0" in "".join(values):
        table.bad_rows.append(f"{where}: it holds a byte of zero, which is no text; the row was left out")
        return
    if len(table.rows) == MOST_ROWS:
        raise ValueError(f"more than {MOST_ROWS:,} rows; split it")
    given = {n: known.setdefault(v, v) for n, v in zip(table.header, values, strict=False) if v not in _NO_VALUE}
    table.rows.append(TableRow(line, given))


def _lines(file: IO[bytes], name: str) -> Iterator[str]:
    """The lines of a file, whatever its line ends. Raises `ValueError` for a line that is too long."""
    buffered = io.BufferedReader(file)  # type: ignore[type-var]
    with io.TextIOWrapper(buffered, encoding_of(buffered.peek(4))) as text:
        number = 0
        while line := text.readline(LONGEST_LINE):
            number += 1
            if len(line) == LONGEST_LINE:
                raise ValueError(f"{name} line {number} has {LONGEST_LINE:,} characters or more")
            yield line


def count_of(text: str, name: str) -> int | None:
    """A number of animals, also as pandas writes it (`3.0`); `None` where none is given. Raises `BadValue`."""
    if not text:
        return None
    try:
        number = float(text)
        whole = int(number)
    except (ValueError, OverflowError):
        number, whole = 0.0, -1
    if whole != number or not 1 <= whole <= MOST_ANIMALS:
        raise BadValue(f"{name} is {text[:60]!r}; expected a whole number from 1, such as 3")
    return whole
