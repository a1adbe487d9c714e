"""Everything that `edge-report` writes, by the name on the command line."""

from edge.report import camtrap_dp, csv_table, html, json_lines, megadetector, parquet, wildlife_insights
from edge.report.cli import Format

FORMATS = (
    Format("html", "One page to read, print and share; works offline.", html.write, html.add_arguments, "file"),
    Format("csv", "One line for each frame and taxon.", csv_table.write),
    Format("jsonl", "The same as csv, one JSON object a line.", json_lines.write),
    Format("parquet", "The same as csv with types, for data frames (extra `parquet`).", parquet.write, to="file"),
    Format("camtrap-dp", "A Camtrap DP 1.0.2 package: a folder, or a .zip file.", camtrap_dp.write, to="folder"),
    Format("megadetector", "MegaDetector batch results 1.6, for Timelapse and others.", megadetector.write),
    Format("wildlife-insights", "images.csv and deployments.csv to upload.", wildlife_insights.write, to="folder"),
)
