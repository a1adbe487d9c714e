"""`edge-report megadetector`: MegaDetector batch results, format 1.6, that Timelapse and most tools read.

Frames without a detector's boxes get one box: the attention crop, else the whole frame.
`unknown` is a category of its own, for an empty list would call such a frame blank.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge import __version__
from edge.inference.taxonomy import Taxon
from edge.report.analysis.study import Study
from edge.report.formats.observation_table import CHUNK
from edge.report.formats.parallel_chunks import in_chunks
from edge.report.formats.public_paths import PublicPaths
from edge.report.output import Output, Written, counted, utf8
from edge.report.read.details import Details
from edge.report.read.local_time import NO_TIME, local_text
from edge.report.read.survey import ANIMAL, BLANK, CLASSIFIED, KINDS, UNREADABLE, Survey
from edge.vocabulary import Kind, MediaStatus

FORMAT_VERSION = "1.6"
CATEGORIES = {"1": "animal", "2": "person", "3": "vehicle", "4": "unknown"}
_CATEGORY_OF_KIND: dict[str, str] = {Kind.ANIMAL: "1", Kind.HUMAN: "2", Kind.VEHICLE: "3", Kind.UNKNOWN: "4"}
WHOLE_FRAME = (0.0, 0.0, 1.0, 1.0)
_encode = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True, slots=True)
class _Classes:
    """Numbers of all possible classifications: the taxa that the models know, and the kinds."""

    ids: dict[str, str]
    descriptions: dict[str, str]

    @classmethod
    def of(cls, survey: Survey, details: Details) -> "_Classes":
        cards = [model.card for model in survey.models if model.card is not None]
        known = [label.taxon for card in cards for label in card.labels if label.taxon is not None]
        taxa = {taxon.scientific_name: taxon for taxon in (*survey.taxa, *known)}
        names = dict.fromkeys((*taxa, *KINDS))
        if len(cards) < len(survey.models):
            names |= dict.fromkeys(details.candidate_names())
        ids = {name: str(number) for number, name in enumerate(names, 1)}
        return cls(ids, {ids[name]: _description(taxon) for name, taxon in taxa.items()})


def _description(taxon: Taxon) -> str:
    epithet = taxon.species.removeprefix(taxon.genus).strip() if taxon.species else ""
    line = ("", taxon.class_, taxon.order, taxon.family, taxon.genus, epithet, taxon.common_name)
    return ";".join(part.lower() for part in line)


def write(study: Study, output: Output) -> Written:
    """Write the file; long ones are streamed."""
    survey = study.survey
    labelled = np.zeros(len(survey.frames), bool)
    labelled[survey.records.frame] = True
    # A frame whose decision is filtered out is left out too: an empty list would call it blank.
    status = survey.frames.status
    listed = (labelled & (status == CLASSIFIED)) | (status == UNREADABLE)
    with Details(survey) as details:
        classes, paths = _Classes.of(survey, details), PublicPaths.of(study, details, failures_too=True)
        overwritten = listed & details.overwritten()
    wanted = np.flatnonzero(listed & ~overwritten).astype(np.int32)
    if overwritten.any():
        output.warn(
            f"{int(overwritten.sum())} frames are not in the file: their paths hold other content now, and it names"
            " each path once; `edge-report csv` has them"
        )

    def images(details: Details, part: slice) -> bytes:
        return utf8(",\n".join(_images(study, details, classes, paths, wanted[part])))

    with output.binary() as file:
        info = {
            "format_version": FORMAT_VERSION,
            "detector": "edge-classify",
            "classifier": ", ".join(model.title for model in survey.models if not model.imported),
            "detector_metadata": {"edge_classify_version": __version__},
        }
        categories = json.dumps(CATEGORIES)
        file.write(utf8(f'{{"info":{json.dumps(info)},"detection_categories":{categories},"images":['))
        for done, text in enumerate(in_chunks(survey, len(wanted), images)):
            file.write((b",\n" if done else b"\n") + text)
            output.progress(f"megadetector: {(done + 1) * CHUNK} of {len(wanted)} frames")
        names = {id_: name for name, id_ in classes.ids.items()}
        described = json.dumps(classes.descriptions)
        end = f'"classification_categories":{json.dumps(names)},"classification_category_descriptions":{described}'
        file.write(utf8(f"\n],{end}}}\n"))
    output.progress("")
    return Written(counted(len(wanted), "frame"))


def _images(
    study: Study, details: Details, classes: _Classes, paths: PublicPaths, frame: NDArray[np.int32]
) -> Iterator[str]:
    """JSON texts of some frames that have a decision or a failure."""
    records, frames = study.survey.records, study.survey.frames
    names = [
        paths.public(path, deployment)
        for (path, _), deployment in zip(details.media(frame), frames.deployment[frame].tolist(), strict=True)
    ]
    times = local_text(frames.local[frame])
    boxes = details.boxes(frame)
    firsts = np.searchsorted(records.frame, frame, side="left")
    lasts = np.searchsorted(records.frame, frame, side="right")
    decisions = _Decisions.of(study, details, classes, int(firsts[0]), int(lasts[-1]))
    unreadable = frames.status[frame] == UNREADABLE
    failures = iter(details.fetch("media", f"coalesce(reason, '{MediaStatus.UNREADABLE}')", frame[unreadable]))
    dated = (frames.at[frame] != NO_TIME).tolist()
    spans = zip(firsts.tolist(), lasts.tolist(), strict=True)
    for i, ((first, last), failed) in enumerate(zip(spans, unreadable.tolist(), strict=True)):
        taken = f'"datetime":"{times[i].replace("-", ":", 2).replace("T", " ")}",' if dated[i] else ""
        if failed:
            rest = f'"failure":{_encode(next(failures)[0])},"detections":null'
        else:
            found = [d for record in range(first, last) for d in decisions.detections(record, boxes[i])]
            rest = f'"detections":[{",".join(found)}]'
        yield f'{{"file":{_encode(names[i])},{taken}{rest}}}'


class _Decisions:
    """Decisions of a run of records, with their candidates and crops."""

    def __init__(self, study: Study, classes: _Classes) -> None:
        self._study = study
        self._classes = classes
        self._names = [taxon.scientific_name for taxon in study.survey.taxa]
        self._candidates: dict[int, list[tuple[str, float]]] = {}
        self._crops: dict[int, tuple[float, ...]] = {}

    @classmethod
    def of(cls, study: Study, details: Details, classes: _Classes, start: int, end: int) -> "_Decisions":
        decisions = cls(study, classes)
        records = study.survey.records
        part = start + np.flatnonzero((records.kind[start:end] != BLANK) & ~records.human[start:end])
        for record, taxon, probability in details.candidates(part):
            decisions._candidates.setdefault(record, []).append((taxon, probability))
        shown = details.fetch(
            "observation", "box_x, box_y, box_width, box_height", records.frame[part], records.observation[part]
        )
        decisions._crops = {
            record: box[:4] for record, box in zip(part.tolist(), shown, strict=True) if box[0] is not None
        }
        return decisions

    def detections(self, record: int, boxes: list[tuple[Any, ...]]) -> list[str]:
        """JSON texts of the detections of one record."""
        records, ids = self._study.survey.records, self._classes.ids
        kind, human = int(records.kind[record]), bool(records.human[record])
        if kind == BLANK:
            return []
        confidence = 1.0 if human else float(records.confidence[record])
        confidence = 0.0 if confidence != confidence else confidence
        named: dict[str, float] = {}
        if kind == ANIMAL and records.taxon[record] >= 0:
            named[ids[self._names[records.taxon[record]]]] = confidence
        for name, probability in self._candidates.get(record, ()):
            named.setdefault(ids[name], probability)
        ordered = sorted(named.items(), key=lambda pair: -pair[1])
        classified = ",".join([f'["{id_}",{_number(p)}]' for id_, p in ordered])
        extra = f',"classifications":[{classified}]' if classified else ""
        category = _CATEGORY_OF_KIND[KINDS[kind]]
        # A person gives one record for each taxon; a model gives one for the frame, and boxes of other kinds beside it.
        drawn = [b for b in boxes if bool(b[0]) == human and (not human or b[1] == KINDS[kind])]
        found = [(_CATEGORY_OF_KIND[b[1]], 1.0 if b[7] is None else float(b[7]), b[3:7]) for b in drawn]
        if all(other != category for other, _, _ in found):
            found.insert(0, (category, confidence, self._crops.get(record, WHOLE_FRAME)))
        return [
            f'{{"category":"{other}","conf":{_number(sure)},"bbox":[{",".join(map(_number, box))}]'
            f"{extra if other == category else ''}}}"
            for other, sure, box in found
        ]


def _number(value: float) -> str:
    return repr(round(float(value), 4))
