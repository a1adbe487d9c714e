"""`edge-report csv`: the long table for spreadsheets and scripts. CSV cells never become formulas."""

import argparse
import csv
from collections.abc import Iterable
from typing import Any, TextIO

from edge.report.output import Output
from edge.report.rows import COLUMNS, rows
from edge.report.study import Study

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_TEXT_COLUMNS = frozenset(
    COLUMNS.index(name)
    for name in ("deployment", "scientific_name", "rank", "common_name", "classified_by", "class", "order", "family",
                 "genus", "species", "path")
)  # fmt: skip


def defused(cell: Any) -> Any:
    """Text that a spreadsheet would run as a formula, made harmless with a leading apostrophe; else the same."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def write_table(file: TextIO, columns: Iterable[str], lines: Iterable[Iterable[Any]]) -> None:
    """A whole CSV with its header; every text cell defused."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([defused(cell) for cell in line] for line in lines)


def write(study: Study, output: Output, arguments: argparse.Namespace) -> int:
    """One line for each frame and taxon."""
    done = 0
    with output.text() as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for block in rows(study):
            writer.writerows(_harmless(block))
            done += len(block)
            output.say(f"csv: {done} of {len(study.survey.records)} lines")
    output.say("")
    return 0


def _harmless(block: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The block with its text columns defused; most blocks need nothing."""
    columns = list(zip(*block, strict=True))
    suspects = [i for i in _TEXT_COLUMNS if any(isinstance(c, str) and c.startswith(_FORMULA) for c in set(columns[i]))]
    if not suspects:
        return block
    for i in suspects:
        columns[i] = tuple(defused(cell) for cell in columns[i])
    return list(zip(*columns, strict=True))
