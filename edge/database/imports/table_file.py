"""Delimited text as spreadsheets write it: comma, semicolon or tab, with or without a byte-order mark."""

import csv
from dataclasses import dataclass, field

_DELIMITERS = ",;\t"
_NO_VALUE = ("", "NA", "N/A", "NaN", "nan", "NULL")


class BadValue(ValueError):
    """A value that cannot be meant: what is there and what was expected."""


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row: the number of its line in the file, and its values by the header's names; empty where none is given."""

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
    bad_rows: list[str] = field(default_factory=list)
    """Rows with more values than the header has names."""


def read_table(text: str, file: str) -> Table:
    """Read a table; `file` is what messages call it. Raises `ValueError` for what is no table."""
    delimiter, skipped = None, 0
    first, _, rest = text.partition("\n")
    if first.lower().startswith("sep=") and len(first.strip()) == 5:  # Excel's own line
        delimiter, text, skipped = first.strip()[4], rest, 1
    lines = text.split("\n")
    if delimiter is None:
        delimiter = max(_DELIMITERS, key=lambda sign: len(next(csv.reader([lines[0]], delimiter=sign), [])))
    try:
        reader = csv.reader((line + "\n" for line in lines), delimiter=delimiter)
        table = Table([name.strip() for name in next(reader)])
        for fields in reader:
            number = reader.line_num + skipped
            values = [value.strip() for value in fields]
            if not any(values):
                continue
            if any(values[len(table.header) :]):
                table.bad_rows.append(
                    f"{file} line {number}: {len(values)} values; expected {len(table.header)} as in the header; the"
                    " row was left out"
                )
                continue
            given = {n: "" if v in _NO_VALUE else v for n, v in zip(table.header, values, strict=False)}
            table.rows.append(TableRow(number, given))
    except csv.Error as error:
        raise ValueError(f"{file}: {error}") from error
    return table


def count_of(text: str, name: str) -> int | None:
    """A number of animals, also as pandas writes it (`3.0`); `None` where none is given. Raises `BadValue`."""
    if not text:
        return None
    try:
        number = float(text)
        whole = int(number)
    except (ValueError, OverflowError):
        number, whole = 0.0, -1
    if whole != number or whole < 1:
        raise BadValue(f"{name} is {text!r}; expected a whole number from 1, such as 3")
    return whole
