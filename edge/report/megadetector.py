"""`edge-report megadetector`: MegaDetector batch results, format 1.6, that Timelapse and most tools read.

Frames without a detector's boxes get one box: the region that drew the model's attention, else the whole frame.
`unknown` is a category of its own, for an empty list would call such a frame blank.
"""

import argparse
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge import __version__
from edge.report.file_paths import PublicPaths
from edge.report.local_time import NO_TIME, local_text
from edge.report.output import Output
from edge.report.rows import CHUNK, Details
from edge.report.study import Study
from edge.report.survey import ANIMAL, BLANK, CLASSIFIED, KINDS, UNREADABLE
from edge.taxonomy import Taxon

FORMAT_VERSION = "1.6"
CATEGORIES = {"1": "animal", "2": "person", "3": "vehicle", "4": "unknown"}
_CATEGORY_OF_KIND = {"animal": "1", "human": "2", "vehicle": "3", "unknown": "4"}
WHOLE_FRAME = [0.0, 0.0, 1.0, 1.0]


class _Classes:
    """Numbers the taxa that appear as classifications."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.descriptions: dict[str, str] = {}
        self._ids: dict[str, str] = {}

    def id(self, name: str, taxon: Taxon | None) -> str:
        known = self._ids.get(name)
        if known is None:
            known = self._ids[name] = str(len(self._ids) + 1)
            self.names[known] = name
            if taxon is not None:
                epithet = taxon.species.removeprefix(taxon.genus).strip() if taxon.species else ""
                line = ("", taxon.class_, taxon.order, taxon.family, taxon.genus, epithet, taxon.common_name)
                self.descriptions[known] = ";".join(part.lower() for part in line)
        return known


def write(study: Study, output: Output, arguments: argparse.Namespace) -> int:
    """Write the file; long ones are streamed."""
    classes = _Classes()
    with output.text() as file, Details(study.survey) as details:
        info = {
            "format_version": FORMAT_VERSION,
            "detector": "edge-classify",
            "classifier": ", ".join(model.title for model in study.survey.models),
            "detector_metadata": {"edge_classify_version": __version__},
        }
        file.write('{"info":' + json.dumps(info) + ',"detection_categories":' + json.dumps(CATEGORIES))
        file.write(',"images":[')
        separator = "\n"
        for done, images in enumerate(_images(study, details, classes)):
            if images:
                file.write(separator + ",\n".join(images))
                separator = ",\n"
            output.say(f"megadetector: {(done + 1) * CHUNK} of {len(study.survey.frames)} frames")
        file.write(
            '\n],"classification_categories":' + json.dumps(classes.names)
            + ',"classification_category_descriptions":' + json.dumps(classes.descriptions) + "}\n"
        )  # fmt: skip
    output.say("")
    return 0


def _images(study: Study, details: Details, classes: _Classes) -> Iterator[list[str]]:
    """JSON texts of the frames that have an answer or a failure, in chunks."""
    survey = study.survey
    records, frames = survey.records, survey.frames
    answered = np.zeros(len(frames), bool)
    answered[records.frame] = True
    # A frame whose answer is left out (a filter) is left out too: an empty list would call it blank.
    wanted = np.flatnonzero((answered & (frames.status == CLASSIFIED)) | (frames.status == UNREADABLE)).astype(np.int32)
    paths = PublicPaths.of(study, details)
    firsts = np.searchsorted(records.frame, wanted, side="left")
    lasts = np.searchsorted(records.frame, wanted, side="right")
    encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
    for start in range(0, len(wanted), CHUNK):
        part = slice(start, start + CHUNK)
        frame = wanted[part]
        names = [
            paths.public(path, deployment)
            for (path, _), deployment in zip(details.media(frame), frames.deployment[frame].tolist(), strict=True)
        ]
        times = local_text(frames.local[frame])
        boxes = details.boxes(frame)
        spans = list(zip(firsts[part].tolist(), lasts[part].tolist(), strict=True))
        said = _Said.of(study, details, firsts[part], lasts[part])
        failures = details.fetch("media", "coalesce(reason, 'unreadable')", frame[frames.status[frame] == UNREADABLE])
        failed = iter(failures)
        unreadable = (frames.status[frame] == UNREADABLE).tolist()
        dated = (frames.at[frame] != NO_TIME).tolist()
        images = []
        for i, (first, last) in enumerate(spans):
            taken = f'"datetime":"{times[i].replace("-", ":", 2).replace("T", " ")}",' if dated[i] else ""
            if unreadable[i]:
                rest = f'"failure":{encode(next(failed)[0])},"detections":null'
            else:
                found = [d for record in range(first, last) for d in said.detections(record, boxes[i], classes)]
                rest = f'"detections":{encode(found) if found else "[]"}'
            images.append(f'{{"file":{encode(names[i])},{taken}{rest}}}')
        yield images


class _Said:
    """Answers of a run of records with their candidates."""

    def __init__(self, study: Study, start: int) -> None:
        self._study = study
        self._start = start
        self._candidates: dict[int, list[tuple[str, float]]] = {}
        self._regions: dict[int, list[float]] = {}

    @classmethod
    def of(cls, study: Study, details: Details, firsts: NDArray[np.int64], lasts: NDArray[np.int64]) -> "_Said":
        start, end = (int(firsts.min()), int(lasts.max())) if len(firsts) else (0, 0)
        said = cls(study, start)
        records = study.survey.records
        part = start + np.flatnonzero((records.kind[start:end] != BLANK) & ~records.human[start:end])
        for record, taxon, probability in details.candidates(part):
            said._candidates.setdefault(record, []).append((taxon, probability))
        shown = details.fetch(
            "observation", "box_x, box_y, box_width, box_height", records.frame[part], records.observation[part]
        )
        said._regions = {
            int(record): [round(value, 4) for value in box]
            for record, box in zip(part.tolist(), shown, strict=True)
            if box[0] is not None
        }
        return said

    def detections(self, record: int, boxes: list[tuple[Any, ...]], classes: _Classes) -> list[dict[str, Any]]:
        records, taxa = self._study.survey.records, self._study.survey.taxa
        kind, human = int(records.kind[record]), bool(records.human[record])
        if kind == BLANK:
            return []
        confidence = 1.0 if human else float(records.confidence[record])
        confidence = 0.0 if confidence != confidence else round(confidence, 4)
        named: list[list[Any]] = []
        if kind == ANIMAL and records.taxon[record] >= 0:
            taxon = taxa[int(records.taxon[record])]
            named.append([classes.id(taxon.scientific_name, taxon), confidence])
        for name, probability in self._candidates.get(record, []):
            id_ = classes.id(name, next((t for t in taxa if t.scientific_name == name), None))
            if all(id_ != other for other, _ in named):
                named.append([id_, round(probability, 4)])
        named.sort(key=lambda pair: -pair[1])
        extra = {"classifications": named} if named else {}
        own = [b for b in boxes if bool(b[0]) == human and b[1] == KINDS[kind]]
        if own:
            return [
                {
                    "category": _CATEGORY_OF_KIND[KINDS[kind]],
                    "conf": 1.0 if b[7] is None else round(float(b[7]), 4),
                    "bbox": [round(float(value), 4) for value in b[3:7]],
                    **extra,
                }
                for b in own
            ]
        box = self._regions.get(record, WHOLE_FRAME)
        return [{"category": _CATEGORY_OF_KIND[KINDS[kind]], "conf": confidence, "bbox": box, **extra}]
