"""`edge-report wildlife-insights`: images.csv and deployments.csv in the columns of Wildlife Insights' batch upload."""

from typing import Any, BinaryIO

import numpy as np

from edge.host.output_file import begins_with
from edge.report.analysis.sampling_effort import deployment_period
from edge.report.analysis.study import Study
from edge.report.formats.csv import ColumnFile, csv_lines
from edge.report.formats.observation_table import CHUNK
from edge.report.formats.parallel_chunks import in_chunks
from edge.report.formats.public_paths import PublicPaths
from edge.report.output import Output, Written, counted, utf8
from edge.report.read.columns import column_names
from edge.report.read.details import Details, picked
from edge.report.read.local_time import NO_TIME, local_text, offset_s
from edge.report.read.survey import ANIMAL, CLASSIFIED, KINDS

IMAGES = column_names(
    "project_id deployment_id image_id location identified_by wi_taxon_id class order family genus species "
    "common_name number_of_objects uncertainty timestamp highlighted age sex animal_recognizable individual_id "
    "individual_animal_notes markings"
)
DEPLOYMENTS = column_names(
    "project_id deployment_id placename longitude latitude start_date end_date camera_id remarks"
)
_IS_IMAGES, _IS_DEPLOYMENTS = begins_with(*IMAGES), begins_with(*DEPLOYMENTS)


def write(study: Study, output: Output) -> Written:
    """Write both files into the folder that --out names."""
    output.check(("images.csv", _IS_IMAGES), ("deployments.csv", _IS_DEPLOYMENTS))
    project = study.project.id or study.project.title or "project"
    with output.member("deployments.csv", _IS_DEPLOYMENTS) as file:
        _write_deployments(study, file, project)
    records, frames = study.survey.records, study.survey.frames
    wanted = np.flatnonzero((frames.status == CLASSIFIED)[records.frame] & (frames.at != NO_TIME)[records.frame])
    with Details(study.survey) as details:
        paths = PublicPaths.of(study, details)

    def lines(details: Details, part: slice) -> bytes:
        return utf8(csv_lines(_images(study, details, paths, project, wanted[part]), IMAGES))

    with output.member("images.csv", _IS_IMAGES) as file:
        table = ColumnFile(file, IMAGES)
        for done, text in enumerate(in_chunks(study.survey, len(wanted), lines)):
            table.append(text)
            output.progress(f"images {(done + 1) * CHUNK} of {len(wanted)}")
    lost = int(((frames.at == NO_TIME) & (frames.status == CLASSIFIED)).sum())
    if lost:
        output.warn(f"{lost} frames without a time are not in images.csv")
    if study.left_out:
        output.warn(study.describe_left_out())
    output.progress("")
    return Written(counted(len(wanted), "line of images", "lines of images"))


def _images(study: Study, details: Details, paths: PublicPaths, project: str, part: Any) -> dict[str, Any]:
    survey = study.survey
    records, frames = survey.records, survey.frames
    frame, taxon = records.frame[part], records.taxon[part]
    animal = records.kind[part] == ANIMAL
    count = np.where(animal, np.maximum(records.count[part], 1), records.count[part])

    def of_taxon(values: list[str]) -> list[Any]:
        return picked([*(value or None for value in values), None], taxon)

    kinds = picked([kind.capitalize() for kind in KINDS], records.kind[part])
    common = of_taxon([t.common_name or t.scientific_name for t in survey.taxa])
    seen = details.media(frame)
    deployment = frames.deployment[frame]
    confidence = np.round(records.confidence[part].astype(np.float64), 4).tolist()
    return {
        "project_id": project,
        "deployment_id": picked([d.name for d in survey.deployments], deployment),
        "image_id": [digest for _, digest in seen],
        "location": paths.public_names(seen, deployment),
        "identified_by": details.classified_by(part),
        "class": of_taxon([t.class_ for t in survey.taxa]),
        "order": of_taxon([t.order for t in survey.taxa]),
        "family": of_taxon([t.family for t in survey.taxa]),
        "genus": of_taxon([t.genus for t in survey.taxa]),
        # The epithet alone, as their table has it.
        "species": of_taxon([t.species.removeprefix(t.genus).strip() for t in survey.taxa]),
        "common_name": [name or kind for name, kind in zip(common, kinds, strict=True)],
        "number_of_objects": [number or None for number in count.tolist()],
        "uncertainty": [None if value != value else round(1 - value, 4) for value in confidence],
        "timestamp": [text.replace("T", " ") for text in local_text(frames.local[frame])],
        "highlighted": "FALSE",
    }


def _write_deployments(study: Study, file: BinaryIO, project: str) -> None:
    table = ColumnFile(file, DEPLOYMENTS)
    for place in study.cameras:
        deployment = study.survey.deployments[place]
        period = deployment_period(study.survey, place)
        start = end = None
        if period is not None:
            start, end = (text.replace("T", " ") for text in local_text(period + offset_s(period, deployment.zone)))
        table.write(
            {
                "project_id": [project],
                "deployment_id": [deployment.name],
                "placename": [deployment.name],
                "longitude": [deployment.longitude],
                "latitude": [deployment.latitude],
                "start_date": [start],
                "end_date": [end],
                "remarks": ["start and end are not known: no frame has a time" if period is None else None],
            }
        )
