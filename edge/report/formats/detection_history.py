"""`edge-report detection-history`: sites x occasions for each species, as camtrapR and unmarked users feed to models.

1 where the species was recorded, 0 where the camera watched and did not record it, NA where no camera watched.
"""

import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from edge.host.output_file import LONGEST_LINE
from edge.report.analysis.study import Study
from edge.report.errors import ReportError
from edge.report.formats.csv import write_table
from edge.report.output import Output, Written, as_text, counted
from edge.report.read.local_time import DAY_S, day_text

MOST_CELLS = 50_000_000


def write(study: Study, output: Output, occasion_days: int = 7, all_taxa: bool = False) -> Written:
    """effort.csv and one file for each species, into the folder that --out names."""
    taxa = [row for row in study.species if row.taxon.rank == "species" or all_taxa]
    files = {row.code: _file_name(row.taxon.scientific_name) for row in taxa}
    output.check(*((name, _is_own) for name in ("effort.csv", *files.values())))
    sites = study.cameras  # also those that are not known to have watched: their days are 0, their records NA
    starts, effort = effort_matrix(study, sites, occasion_days)
    columns = ["site", *(day_text(day) for day in starts)]
    names = [study.survey.deployments[i].name for i in sites]
    with output.member("effort.csv", _is_own) as file, as_text(file) as text:
        write_table(text, columns, ([name, *row] for name, row in zip(names, effort.tolist(), strict=True)))
    for code, file_name in files.items():
        history = histories(study, code, sites, starts, effort, occasion_days)
        with output.member(file_name, _is_own) as file, as_text(file) as text:
            lines = ([name, *line] for name, line in zip(names, history, strict=True))
            write_table(text, columns, lines)
    if study.left_out:
        output.warn(study.describe_left_out())
    return Written(counted(len(files), "taxon", "taxa"))


def _is_own(file: BinaryIO) -> bool:
    """Whether its columns are sites and days."""
    return re.fullmatch(rb"site(,\d{4}-\d\d-\d\d)*\n", file.readline(LONGEST_LINE)) is not None


def effort_matrix(study: Study, sites: list[int], occasion_days: int) -> tuple[list[int], NDArray[np.int64]]:
    """(first day of each occasion, int64[sites, occasions] days watched); the first watched day starts the first."""
    days = [study.efforts[i].days() for i in sites]
    watched = np.concatenate(days) if days else np.zeros(0, np.int64)
    if not len(watched):
        return [], np.zeros((len(sites), 0), np.int64)
    first, last = int(watched.min()), int(watched.max())
    starts = list(range(first, last + 1, occasion_days))
    if len(starts) * len(sites) > MOST_CELLS:
        raise ReportError(
            f"the table would have {len(sites):,} sites with {len(starts):,} occasions each; expected at most"
            f" {MOST_CELLS:,} cells; give a longer --occasion-days, a period or some deployments"
        )
    effort = np.stack([np.bincount((d - first) // occasion_days, minlength=len(starts)) for d in days])
    return starts, effort.astype(np.int64)


def histories(
    study: Study, taxon: int, sites: list[int], starts: list[int], effort: NDArray[np.int64], occasion_days: int
) -> Iterator[list[Any]]:
    """One row for each site of 1, 0 or `NA`. An occasion with a record counts as watched, whatever the effort."""
    events = study.events
    mine = events.rated & (events.taxon == taxon)
    table: NDArray[Any] = np.where(effort > 0, 0, -1).astype(np.int8)
    place = {site: i for i, site in enumerate(sites)}
    for site, day in set(
        zip(events.deployment[mine].tolist(), (events.local_start[mine] // DAY_S).tolist(), strict=True)
    ):
        occasion = (day - starts[0]) // occasion_days if starts else -1
        if site in place and 0 <= occasion < len(starts):
            table[place[site], occasion] = 1
    return (["NA" if cell < 0 else cell for cell in row.tolist()] for row in table)


def _file_name(taxon: str) -> str:
    """Letters, digits and underscores alone: a name may come from anywhere."""
    return "history_" + "".join(c if c.isalnum() else "_" for c in taxon)[:100] + ".csv"
