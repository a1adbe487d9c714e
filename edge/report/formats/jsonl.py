"""`edge-report jsonl`: the long table, one JSON object a line; what is not known is left out."""

import json
from typing import Any

from edge.report.analysis.study import Study
from edge.report.formats.observation_table import CHUNK, Columns
from edge.report.formats.parallel_chunks import table_chunks
from edge.report.output import Output, Written, counted, utf8

_encode = json.JSONEncoder(ensure_ascii=False).encode


def write(study: Study, output: Output) -> Written:
    """One line for each frame and taxon."""
    with output.binary() as file:
        for done, lines in enumerate(table_chunks(study, lambda columns: utf8(json_lines(columns)))):
            file.write(lines)
            output.progress(f"jsonl: {(done + 1) * CHUNK} of {len(study.survey.records)} lines")
    output.progress("")
    return Written(counted(len(study.survey.records), "line"))


def json_lines(columns: Columns) -> str:
    """Columns as JSON objects, a line each; column by column, since most cells repeat."""
    members = [_members(name, column) for name, column in columns.items()]
    # Each member ends in a comma, of which the last is one too many.
    return "".join(f"{{{line[:-1]}}}\n" for line in map("".join, zip(*members, strict=True)))


def _members(name: str, column: list[Any]) -> list[str]:
    written = {None: ""}
    for cell in set(column) - written.keys():
        written[cell] = f"{_encode(name)}:{_encode(cell)},"
    return [written[cell] for cell in column]
