"""Everything that `edge-report` writes, by the name on the command line."""

from edge.commands.report import Format
from edge.report.analysis import camera_health
from edge.report.formats import (
    activity,
    camtrap_dp,
    csv,
    detection_history,
    digest,
    events,
    jsonl,
    megadetector,
    parquet,
    wildlife_insights,
)
from edge.report.page import page

FORMATS = (
    Format("html", "One page to read, print and share; works offline.", page.write, page.add_arguments, "file"),
    Format("csv", "One line for each frame and taxon.", csv.write),
    Format("events", "One line for each independent event, as CSV.", events.write),
    Format("jsonl", "The same as csv, one JSON object a line.", jsonl.write),
    Format("parquet", "The same as csv with types, for data frames (extra `parquet`).", parquet.write, to="file"),
    Format("camtrap-dp", "A Camtrap DP 1.0.2 package: a folder, or a .zip file.", camtrap_dp.write, to="folder"),
    Format("megadetector", "MegaDetector batch results 1.6, for Timelapse and others.", megadetector.write),
    Format("wildlife-insights", "images.csv and deployments.csv to upload.", wildlife_insights.write, to="folder"),
    Format(
        "detection-history", "Sites x occasions for each species, for occupancy models.", detection_history.write,
        detection_history.add_arguments, "folder",
    ),
    Format(
        "activity", "Activity curves and overlaps between species.", activity.write,
        activity.add_arguments, "folder",
    ),
    Format("health", "One line for each problem of a camera; exit code 1 if any.", camera_health.write),
    Format("digest", "A day in a text message, or as JSON for MQTT.", digest.write, digest.add_arguments),
)  # fmt: skip
