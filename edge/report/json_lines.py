"""`edge-report jsonl`: the long table, one JSON object a line; what is not known is left out."""

import argparse
import json

from edge.report.output import Output
from edge.report.rows import CHUNK, column_chunks
from edge.report.study import Study


def write(study: Study, output: Output, arguments: argparse.Namespace) -> int:
    """One line for each frame and taxon."""
    encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
    with output.text() as file:
        for done, columns in enumerate(column_chunks(study)):
            names = tuple(columns)
            lines = [
                encode({name: cell for name, cell in zip(names, line, strict=True) if cell is not None})
                for line in zip(*columns.values(), strict=True)
            ]
            file.write("\n".join(lines) + "\n")
            output.say(f"jsonl: {(done + 1) * CHUNK} of {len(study.survey.records)} lines")
    output.say("")
    return 0
