"""`edge-report jsonl`: the long table, one JSON object a line; what is not known is left out."""

import json
from typing import BinaryIO

import msgspec

from edge.host.output_file import LONGEST_LINE
from edge.report.analysis.study import Study
from edge.report.formats.observation_table import CHUNK, COLUMNS, Columns
from edge.report.formats.parallel_chunks import table_chunks
from edge.report.output import Output, Written, counted

_Line = msgspec.defstruct("_Line", [(name, object, None) for name in COLUMNS], omit_defaults=True)
_encode_lines = msgspec.json.Encoder().encode_lines


def is_own(file: BinaryIO) -> bool:
    """Whether the first line holds columns of this format, with those that every line has."""
    try:
        first = json.loads(file.readline(LONGEST_LINE))
    except (ValueError, RecursionError):
        return False
    return isinstance(first, dict) and {"kind", "method", "path"} <= first.keys() <= set(COLUMNS)


def write(study: Study, output: Output) -> Written:
    """One line for each frame and taxon."""
    with output.binary() as file:
        for done, lines in enumerate(table_chunks(study, json_lines)):
            file.write(lines)
            output.progress(f"jsonl: {(done + 1) * CHUNK} of {len(study.survey.records)} lines")
    output.progress("")
    return Written(counted(len(study.survey.records), "line"))


def json_lines(columns: Columns) -> bytes:
    """The long table as JSON objects, a line each."""
    return _encode_lines(list(map(_Line, *columns.values())))
