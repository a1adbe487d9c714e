"""Long tables in chunks, whose text is made by several processes."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

from edge.report.analysis.study import Study
from edge.report.formats.observation_table import CHUNK, Columns, long_table
from edge.report.processes import forking, ignore_ctrl_c, processors
from edge.report.read.details import Details
from edge.report.read.survey import Survey

Made = TypeVar("Made")
AT_MOST = 4  # more processes wait for the disk and for the one that writes

# What a forked process finds: what to make, and its own connections to the databases.
_make: Callable[[Details, slice], object] | None = None
_details: Details | None = None


def in_chunks(survey: Survey, size: int, make: Callable[[Details, slice], Made]) -> Iterator[Made]:
    """`make` of each slice of `CHUNK` out of `size`, in order.

    The processes share the survey's memory as it was when they began; only what they made is handed over.
    """
    parts = [slice(start, min(start + CHUNK, size)) for start in range(0, size, CHUNK)]
    global _make
    _make = make
    try:
        pool = _forked(min(processors(), len(parts), AT_MOST), survey)
        if pool is None:
            with Details(survey) as details:
                yield from (make(details, part) for part in parts)
            return
        with pool:
            yield from pool.imap(_made, parts)
    finally:
        _make = None


def table_chunks(study: Study, make: Callable[[Columns], Made]) -> Iterator[Made]:
    """What `make` makes of each chunk of the long table, by deployment and time."""
    survey, _ = study.survey, study.events  # worked out once, not in each process
    return in_chunks(survey, len(survey.records), lambda details, part: make(long_table(study, details, part)))


def _forked(workers: int, survey: Survey) -> Any:
    """A pool of processes; `None` where one process is enough, or all that the system lets us have (no /dev/shm)."""
    if workers < 2:
        return None
    with forking() as processes, suppress(OSError):
        return processes.Pool(workers, _begin, (survey,))
    return None


def _begin(survey: Survey) -> None:
    global _details
    ignore_ctrl_c()
    _details = Details(survey).__enter__()  # until the process ends


def _made(part: slice) -> object:
    assert _make is not None
    assert _details is not None
    return _make(_details, part)
