"""`edge-report camtrap-dp`: a Camtrap DP 1.0.2 package, a folder or a zip, with media- and event-level observations."""

import json
import re
import struct
import tempfile
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from edge.host.output_file import LONGEST_LINE, begins_with
from edge.report.analysis.events import frame_bursts
from edge.report.analysis.sampling_effort import deployment_period
from edge.report.analysis.study import Study
from edge.report.formats.camtrap_dp_metadata import (
    dated_frames,
    descriptor,
    packaged_deployments,
    refuse_what_is_missing,
)
from edge.report.formats.csv import ColumnFile, csv_lines
from edge.report.formats.observation_table import CHUNK, DOUBT_TEXTS
from edge.report.formats.parallel_chunks import in_chunks
from edge.report.formats.public_paths import PublicPaths, media_types
from edge.report.output import Output, Written, counted, utf8
from edge.report.read.columns import column_names
from edge.report.read.details import Details, HumanLine, picked
from edge.report.read.local_time import DAY_S, NO_TIME, local_text, offset_s
from edge.report.read.survey import BLANK, CLASSIFIED, KINDS, METHODS, REASONS
from edge.vocabulary import Kind, Method

# All columns of the standard: some validators want each of them named, also where nothing is known.
DEPLOYMENTS = column_names(
    "deploymentID locationID locationName latitude longitude coordinateUncertainty deploymentStart deploymentEnd "
    "setupBy cameraID cameraModel cameraDelay cameraHeight cameraDepth cameraTilt cameraHeading "
    "detectionDistance timestampIssues baitUse featureType habitat deploymentGroups deploymentTags "
    "deploymentComments"
)
MEDIA = column_names(
    "mediaID deploymentID captureMethod timestamp filePath filePublic fileName fileMediatype exifData favorite "
    "mediaComments"
)
OBSERVATIONS = column_names(
    "observationID deploymentID mediaID eventID eventStart eventEnd observationLevel observationType "
    "cameraSetupType scientificName count lifeStage sex behavior individualID individualPositionRadius "
    "individualPositionAngle individualSpeed bboxX bboxY bboxWidth bboxHeight classificationMethod classifiedBy "
    "classificationTimestamp classificationProbability observationTags observationComments"
)
_SOURCE = re.compile(rb'"sources": \[\s*\{\s*"title": "edge-classify"')
LINE_FIELDS = {
    "lifeStage": "life_stage",
    "sex": "sex",
    "behavior": "behaviour",
    "individualID": "individual_id",
    "observationComments": "note",
}
"""What a line of a person says beside the taxon, by the standard's column."""


def write(study: Study, output: Output) -> Written:
    """Write the package to the folder or the .zip that --out names."""
    refuse_what_is_missing(study)
    assert output.path is not None
    if output.path.suffix.lower() != ".zip":
        output.check(*MEMBERS.items())
        frames = _write_package(study, output)
    else:
        parent = output.path.parent
        output = replace(output, is_own=_is_own_zip)
        output.check()
        with tempfile.TemporaryDirectory(dir=parent if parent.is_dir() else None) as folder:
            frames = _write_package(study, replace(output, path=Path(folder)))
            with output.binary() as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as z:
                for part in sorted(Path(folder).iterdir()):
                    output.progress(f"packing {part.name}")
                    z.write(part, part.name)
    output.progress("")
    return Written(counted(frames, "frame"))


def _is_own_package(file: BinaryIO) -> bool:
    """Whether datapackage.json names this software first among its sources: packages of others have the same files."""
    return _SOURCE.search(file.read(LONGEST_LINE)) is not None


def _is_own_zip(file: BinaryIO) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            if sorted(archive.namelist()) != sorted(MEMBERS):
                return False
            with archive.open("datapackage.json") as member:
                return _SOURCE.search(member.read(LONGEST_LINE)) is not None
    except (OSError, ValueError, KeyError, RuntimeError, EOFError, zlib.error, struct.error, zipfile.BadZipFile):
        return False


MEMBERS = {
    "datapackage.json": _is_own_package,
    "deployments.csv": begins_with(*DEPLOYMENTS),
    "media.csv": begins_with(*MEDIA),
    "observations.csv": begins_with(*OBSERVATIONS),
}
"""The files of a package, and what tells former ones."""


def _write_package(study: Study, output: Output) -> int:
    """Write the files of the package; gives the number of frames in it."""
    dated = dated_frames(study)
    frames = np.flatnonzero(dated).astype(np.int32)
    records = np.flatnonzero(dated[study.survey.records.frame])
    with output.member("deployments.csv", MEMBERS["deployments.csv"]) as file:
        periods = _write_deployments(study, file)
    blank_event = _blank_events(study, dated)
    with Details(study.survey) as details:
        paths = PublicPaths.of(study, details)

    def lines(details: Details, part: slice) -> tuple[bytes, bytes]:
        """Of both tables, for some frames."""
        frame = frames[part]
        seen = details.media(frame)
        media = _media_columns(study, paths, frame, seen)
        first, last = np.searchsorted(study.survey.records.frame[records], [frame[0], frame[-1] + 1])
        observations = _observation_columns(study, details, records[first:last], frame, media, blank_event)
        return utf8(csv_lines(media, MEDIA)), utf8(csv_lines(observations, OBSERVATIONS))

    with (
        output.member("media.csv", MEMBERS["media.csv"]) as first_file,
        output.member("observations.csv", MEMBERS["observations.csv"]) as second_file,
    ):
        media_file, observations_file = ColumnFile(first_file, MEDIA), ColumnFile(second_file, OBSERVATIONS)
        for done, (media, observations) in enumerate(in_chunks(study.survey, len(frames), lines)):
            media_file.append(media)
            observations_file.append(observations)
            output.progress(f"{(done + 1) * CHUNK} of {len(frames)} frames")
        observations_file.write(_event_columns(study))
        observations_file.write(_blank_event_columns(study, blank_event))
    text = json.dumps(descriptor(study, periods), ensure_ascii=False, indent=2)
    with output.member("datapackage.json", _is_own_package) as file:
        file.write(utf8(text + "\n"))
    lost = int((~dated & (study.survey.frames.status == CLASSIFIED)).sum())
    if lost:
        output.warn(f"{lost} frames without a time are not in the package: the standard wants a time for each")
    packaged = packaged_deployments(study)
    absent = [study.survey.deployments[place].name for place in study.cameras if place not in packaged]
    if absent:
        output.warn(
            f"not in the package, for none of their frames has a time: {', '.join(absent)};"
            " start, end and coordinates in the configuration bring them in"
        )
    if study.left_out:
        output.warn(study.describe_left_out())
    return len(frames)


def _stamps(at: NDArray[np.int64], local: NDArray[np.int64]) -> list[str]:
    return local_text(local, np.where(at == NO_TIME, 0, local - at))


def _write_deployments(study: Study, file: BinaryIO) -> list[tuple[int, int]]:
    """Write deployments.csv; gives the (first, last) day of each deployment that has frames."""
    survey, periods = study.survey, []
    table = ColumnFile(file, DEPLOYMENTS)
    for place in packaged_deployments(study):
        deployment, effort = survey.deployments[place], study.efforts[place]
        mine = study.frames_of(place)
        period = deployment_period(survey, place)
        assert period is not None
        local = period + offset_s(period, deployment.zone)
        start, end = local_text(local, local - period)
        periods.append((int(local[0]) // DAY_S, int(local[1]) // DAY_S))
        comments = []
        if not (effort.start_given and effort.end_given):
            comments.append("start or end taken from the first or last frame")
        if left_out := int(((mine.at != NO_TIME) & ~mine.clock_good).sum()):
            comments.append(f"{left_out} frames lie outside this period or have a time that is not believed")
        if effort.gaps:
            without = int((~effort.active).sum())
            comments.append(f"{len(effort.gaps)} gaps in effort, {without} days without any watching")
        table.write(
            {
                "deploymentID": [deployment.name],
                "locationID": [deployment.name],
                "locationName": [deployment.name],
                "latitude": [deployment.latitude],
                "longitude": [deployment.longitude],
                "coordinateUncertainty": [deployment.uncertainty_m],
                "deploymentStart": [start],
                "deploymentEnd": [end],
                "timestampIssues": ["true" if left_out or (mine.doubt != 0).any() else "false"],
                "deploymentComments": ["; ".join(comments) or None],
            }
        )
    return periods


def _media_columns(
    study: Study, paths: PublicPaths, frame: NDArray[np.int32], seen: list[tuple[str, str]]
) -> dict[str, Any]:
    frames = study.survey.frames
    methods = study.project.capture_method
    public = paths.public_names(seen, frames.deployment[frame])
    doubts = frames.doubt[frame]
    return {
        "mediaID": [digest for _, digest in seen],
        "deploymentID": picked([d.name for d in study.survey.deployments], frames.deployment[frame]),
        "captureMethod": methods[0].value if len(methods) == 1 else "",
        "timestamp": _stamps(frames.at[frame], frames.local[frame]),
        "filePath": public,
        "filePublic": "false",
        "fileName": [path.rpartition("/")[2] for path in public],
        "fileMediatype": media_types(public),
        "mediaComments": [f"clock doubt: {text}" if text else None for text in picked(DOUBT_TEXTS, doubts)],
    }


def _observation_columns(
    study: Study,
    details: Details,
    part: NDArray[np.int64],
    frames_listed: NDArray[np.int32],
    media_columns: dict[str, Any],
    blank_event: NDArray[np.int64],
) -> dict[str, Any]:
    """`part` are the records of the frames that `media_columns` lists."""
    survey = study.survey
    records, frames = survey.records, survey.frames
    frame = records.frame[part]
    place = np.searchsorted(frames_listed, frame)
    media, stamps = picked(media_columns["mediaID"], place), picked(media_columns["timestamp"], place)
    event = study.events.of_record[part]
    blank = blank_event[frame]
    events = [
        f"event-{e + 1}" if e >= 0 else f"blank-{b + 1}" if b >= 0 else None
        for e, b in zip(event.tolist(), np.where(records.kind[part] == BLANK, blank, -1).tolist(), strict=True)
    ]
    classified_at = details.fetch("observation", "classified_at", frame, records.observation[part])
    columns = {
        "observationID": [f"{m}-{i}" for m, i in zip(media, records.observation[part].tolist(), strict=True)],
        "deploymentID": picked([d.name for d in survey.deployments], frames.deployment[frame]),
        "mediaID": media,
        "eventID": events,
        "eventStart": stamps,
        "eventEnd": stamps,
        "observationLevel": "media",
        "observationType": picked(list(KINDS), records.kind[part]),
        "scientificName": picked([*(t.scientific_name for t in survey.taxa), None], records.taxon[part]),
        "count": _counts(records.count[part]),
        "classificationMethod": picked(list(METHODS), records.human[part].astype(np.int8)),
        "classifiedBy": details.classified_by(part),
        "classificationTimestamp": [at[:19] + "+00:00" if at[-1:] == "Z" else at for at, _ in classified_at],
        "classificationProbability": _probabilities(records.confidence[part]),
        "observationTags": picked([f"reason:{name}" if name else None for name in REASONS], records.reason[part]),
    }
    return _by_line(columns, details, part, media) if survey.boxed or records.human[part].any() else columns


def _by_line(columns: dict[str, Any], details: Details, part: NDArray[np.int64], media: list[str]) -> dict[str, Any]:
    """The columns of some records with one row for each line that a person wrote, and for each bounding box of a model
    where there is any.
    """
    records, human = details.survey.records, details.human_lines(part)
    rows: list[tuple[int, str, Any, HumanLine | None, tuple[Any, ...]]] = []
    for i, boxes in enumerate(details.boxes(records.frame[part])):
        id_, count, kind = columns["observationID"][i], columns["count"][i], KINDS[records.kind[part[i]]]
        if lines := human.get(int(part[i])):
            rows += [(i, f"{media[i]}-{line.id}", line.count, line, line.box or ()) for line in lines]
        else:
            own = [box for box in boxes if not box[0] and box[1] == kind]
            rows += [(i, f"{id_}-{box[2]}", 1, None, box[3:7]) for box in own] or [(i, id_, count, None, ())]
    spread = {
        name: values if isinstance(values, str) else [values[row[0]] for row in rows]
        for name, values in columns.items()
    }
    spread["observationID"] = [row[1] for row in rows]
    spread["count"] = [row[2] or None for row in rows]
    for name, field in LINE_FIELDS.items():
        spread[name] = [getattr(row[3], field) if row[3] else None for row in rows]
    for place, name in enumerate(("bboxX", "bboxY", "bboxWidth", "bboxHeight")):
        spread[name] = [row[4][place] if row[4] else None for row in rows]
    return spread


def _event_columns(study: Study) -> dict[str, Any]:
    events, survey = study.events, study.survey
    size = len(events)
    shift = events.local_start - events.start
    return {
        "observationID": [f"event-{i + 1}-observation" for i in range(size)],
        "deploymentID": picked([d.name for d in survey.deployments], events.deployment),
        "eventID": [f"event-{i + 1}" for i in range(size)],
        "eventStart": local_text(events.local_start, shift),
        "eventEnd": local_text(events.end + shift, shift),
        "observationLevel": "event",
        "observationType": picked(list(KINDS), events.kind),
        "scientificName": picked([*(t.scientific_name for t in survey.taxa), None], events.taxon),
        "count": _counts(events.count),
        "classificationMethod": picked(list(METHODS), events.human.astype(np.int8)),
        "classificationProbability": _probabilities(events.confidence),
    }


def _blank_events(study: Study, dated: NDArray[np.bool_]) -> NDArray[np.int64]:
    """int64[frames]: for frames of bursts that show nothing at all the number of the burst, from 0; else -1."""
    bursts = frame_bursts(study.survey, study.rules)
    records = study.survey.records
    shows = np.zeros(int(bursts.max(initial=-1)) + 1, bool)
    shows[bursts[records.frame[records.kind != BLANK]]] = True
    blank = np.zeros(len(bursts), bool)
    blank[records.frame[records.kind == BLANK]] = True
    mine = blank & dated & ~shows[bursts]
    numbers = np.full(len(bursts), -1, np.int64)
    numbers[mine] = np.unique(bursts[mine], return_inverse=True)[1]
    return numbers


def _blank_event_columns(study: Study, numbers: NDArray[np.int64]) -> dict[str, Any]:
    frames = study.survey.frames
    places = np.flatnonzero(numbers >= 0)
    first = places[np.searchsorted(numbers[places], np.arange(int(numbers.max(initial=-1)) + 1))]
    last = places[np.searchsorted(numbers[places], np.arange(len(first)), side="right") - 1] if len(first) else first
    size = len(first)
    return {
        "observationID": [f"blank-{i + 1}-observation" for i in range(size)],
        "deploymentID": picked([d.name for d in study.survey.deployments], frames.deployment[first]),
        "eventID": [f"blank-{i + 1}" for i in range(size)],
        "eventStart": _stamps(frames.at[first], frames.local[first]),
        "eventEnd": _stamps(frames.at[last], frames.local[last]),
        "observationLevel": "event",
        "observationType": Kind.BLANK.value,
        "classificationMethod": Method.MACHINE.value,
    }


def _counts(counts: NDArray[np.int32]) -> list[Any]:
    return [count or None for count in counts.tolist()]


def _probabilities(confidence: NDArray[np.float32]) -> list[Any]:
    rounded = np.round(confidence.astype(np.float64), 4)
    return [None if value != value else value for value in rounded.tolist()]
