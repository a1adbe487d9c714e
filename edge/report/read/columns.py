"""Tables of a database as columns of numbers: a million rows in seconds."""

import itertools
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.report.read.local_time import NO_TIME

_SEPARATOR = "\x1f"
_CHUNK = 50_000


def column_names(text: str) -> tuple[str, ...]:
    """The names in a text that separates them by spaces."""
    return tuple(text.split())


def seconds_of(column: str) -> str:
    """SQL for ISO 8601 text as UTC seconds; `NO_TIME` where there is none."""
    if sqlite3.sqlite_version_info >= (3, 38):
        return f"coalesce(unixepoch({column}), {NO_TIME})"
    return f"coalesce(CAST(strftime('%s', {column}) AS INTEGER), {NO_TIME})"


def key_of(*columns: str) -> str:
    """SQL for one text out of columns that repeat from row to row: a million rows then make few Python objects."""
    places = _SEPARATOR.join(["%s"] * len(columns))
    return f"printf('{places}', {', '.join(columns)})"  # a third quicker than many ||; NULL gives nothing


def key_parts(key: str) -> list[str]:
    """The columns of a `key_of` text; empty for NULL."""
    return key.split(_SEPARATOR)


class KeyCodes:
    """Numbers the texts of a `key_of` column in the order met."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}

    def __call__(self, texts: Sequence[str]) -> NDArray[np.int32]:
        codes = self.codes
        for text in sorted(set(texts) - codes.keys()):
            codes[text] = len(codes)
        return np.array([codes[text] for text in texts], np.int32)

    def table(self, value: Callable[[list[str]], Any], dtype: Any) -> NDArray[Any]:
        """`value` of the parts of each text, to be indexed with the codes."""
        return np.array([value(key_parts(text)) for text in self.codes], dtype)


def read_columns(
    connection: sqlite3.Connection, query: str, converters: Sequence[Callable[[Any], NDArray[Any]]]
) -> list[NDArray[Any]]:
    """The columns of a query, each by its converter (a sequence of values -> array)."""
    parts: list[list[NDArray[Any]]] = [[converter(())] for converter in converters]
    for rows in chunks(connection.execute(query)):
        for held, converter, values in zip(parts, converters, zip(*rows, strict=True), strict=True):
            held.append(converter(values))
    return [np.concatenate(held) for held in parts]


def int64(values: Any) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def int32(values: Any) -> NDArray[np.int32]:
    return np.array(values, np.int32)


def float32(values: Any) -> NDArray[np.float32]:
    """Numbers; negative ones stand for NULL and become NaN."""
    read = np.array(values, np.float32)
    read[read < 0] = np.nan
    return read


def places_of(codes: NDArray[np.int32], number: int) -> Iterator[NDArray[np.int64]]:
    """The places at which each of the codes below `number` stands, in order."""
    order = np.argsort(codes, kind="stable")
    edges = np.searchsorted(codes[order], np.arange(number + 1)).tolist()
    return (order[first:end] for first, end in itertools.pairwise(edges))


def chunks(cursor: sqlite3.Cursor, size: int = _CHUNK) -> Iterator[list[tuple[Any, ...]]]:
    """Rows of a cursor in lists."""
    while rows := cursor.fetchmany(size):
        yield rows


def joined(parts: Sequence[NDArray[Any]], dtype: Any) -> NDArray[Any]:
    """One array out of many, also out of none."""
    return np.concatenate(parts).astype(dtype, copy=False) if parts else np.zeros(0, dtype)
