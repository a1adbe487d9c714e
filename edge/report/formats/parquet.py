"""`edge-report parquet`: the long table with types, for data frames (needs the extra `parquet`)."""

from typing import Any, BinaryIO

from edge.report.analysis.study import Study
from edge.report.errors import ReportError
from edge.report.formats.observation_table import CHUNK, COLUMNS, Columns
from edge.report.formats.parallel_chunks import table_chunks
from edge.report.output import Output, Written, counted
from edge.report.read.columns import column_names

_TYPES = {
    "count": "int32",
    "confidence": "float32",
    "event": "int32",
    "latitude": "float64",
    "longitude": "float64",
    "infrared": "int8",
}
_REPEATED = column_names(
    "deployment kind scientific_name rank common_name reason method classified_by class order family clock_doubt"
)


def is_own(file: BinaryIO) -> bool:
    """Whether it is Parquet with the columns of this format."""
    if file.read(4) != b"PAR1":
        return False
    from pyarrow import lib, parquet  # type: ignore[import-untyped,import-not-found,unused-ignore]

    try:
        return list(parquet.read_schema(file).names[: len(COLUMNS)]) == list(COLUMNS)
    except (OSError, lib.ArrowException):
        return False


def write(study: Study, output: Output) -> Written:
    """Write one file; `captured_at` is local time as text with its offset, so that no reader converts it."""
    try:
        import pyarrow as pa  # type: ignore[import-untyped,import-not-found,unused-ignore]
        from pyarrow import parquet
    except ImportError as error:
        raise ReportError("parquet needs the package pyarrow: pip install 'edge-classify[parquet]'") from error
    schema = pa.schema([(name, _type(pa, name)) for name in COLUMNS])
    with output.binary() as file, parquet.ParquetWriter(file, schema, compression="zstd") as writer:

        def table(columns: Columns) -> Any:
            return pa.table([pa.array(columns[name], _type(pa, name)) for name in schema.names], schema=schema)

        for done, lines in enumerate(table_chunks(study, table)):
            writer.write_table(lines)
            output.progress(f"parquet: {(done + 1) * CHUNK} of {len(study.survey.records)} lines")
    output.progress("")
    return Written(counted(len(study.survey.records), "line"))


def _type(pa: Any, name: str) -> Any:
    if name in _REPEATED:
        return pa.dictionary(pa.int32(), pa.string())
    return getattr(pa, _TYPES[name])() if name in _TYPES else pa.string()
