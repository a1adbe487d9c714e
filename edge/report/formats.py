"""Everything that `edge-report` writes, by the name on the command line."""

from edge.report import csv_table, html
from edge.report.cli import Format

FORMATS = (
    Format("html", "One page to read, print and share; works offline.", html.write, html.add_arguments, to="file"),
    Format("csv", "One line for each frame and taxon.", csv_table.write),
)
