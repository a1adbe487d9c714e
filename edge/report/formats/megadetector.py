"""`edge-report megadetector`: MegaDetector batch results, format 1.6, that Timelapse and most tools read.

Frames without a detector's boxes get one box: the attention crop, else the whole frame.
`unknown` is a category of its own, for an empty list would call such a frame blank.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, BinaryIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge import __version__
from edge.inference.taxonomy import Taxon
from edge.report.analysis.study import Study
from edge.report.formats.observation_table import CHUNK
from edge.report.formats.parallel_chunks import in_chunks
from edge.report.formats.public_paths import PublicPaths
from edge.report.output import Output, Written, counted, utf8
from edge.report.read.details import Details, picked
from edge.report.read.local_time import NO_TIME, local_text
from edge.report.read.survey import ANIMAL, BLANK, CLASSIFIED, KINDS, UNREADABLE, Survey
from edge.vocabulary import Kind, MediaStatus

FORMAT_VERSION = "1.6"
CATEGORIES = {"1": "animal", "2": "person", "3": "vehicle", "4": "unknown"}
_CATEGORY_OF_KIND: dict[str, str] = {Kind.ANIMAL: "1", Kind.HUMAN: "2", Kind.VEHICLE: "3", Kind.UNKNOWN: "4"}
WHOLE_FRAME = (0.0, 0.0, 1.0, 1.0)
_INFO = re.compile(rb'\{"info":\s*\{"format_version":\s*"[^"]*",\s*"detector":\s*"edge-classify"')
_encode = msgspec.json.Encoder().encode


class _Detection(msgspec.Struct):
    """One bounding box with what it shows."""

    category: str
    conf: float
    bbox: tuple[float, ...]
    classifications: list[tuple[str, float]] | msgspec.UnsetType = msgspec.UNSET


class _Image(msgspec.Struct):
    """One file: its detections, or why it could not be read."""

    file: str
    datetime: str | msgspec.UnsetType
    failure: str | msgspec.UnsetType
    detections: list[_Detection] | None


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


def is_own(file: BinaryIO) -> bool:
    """Whether its first keys say that this software wrote it; those of the detectors themselves say otherwise."""
    return _INFO.match(file.read(4096)) is not None


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
        return b",\n".join(map(_encode, _images(study, details, classes, paths, wanted[part])))

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
) -> list[_Image]:
    """Some frames that have a decision or a failure."""
    records, frames = study.survey.records, study.survey.frames
    names = paths.public_names(details.media(frame), frames.deployment[frame])
    texts = local_text(frames.local[frame])
    dated = (frames.at[frame] != NO_TIME).tolist()
    times = [
        text.replace("-", ":", 2).replace("T", " ") if known else msgspec.UNSET
        for text, known in zip(texts, dated, strict=True)
    ]
    boxes = details.boxes(frame)
    firsts = np.searchsorted(records.frame, frame, side="left")
    lasts = np.searchsorted(records.frame, frame, side="right")
    decisions = _Decisions.of(study, details, classes, int(firsts[0]), int(lasts[-1]))
    unreadable = frames.status[frame] == UNREADABLE
    failures = iter(details.fetch("media", f"coalesce(reason, '{MediaStatus.UNREADABLE}')", frame[unreadable]))
    spans = zip(firsts.tolist(), lasts.tolist(), unreadable.tolist(), strict=True)
    return [
        _Image(names[i], times[i], next(failures)[0], None)
        if failed
        else _Image(
            names[i],
            times[i],
            msgspec.UNSET,
            [found for record in range(first, last) for found in decisions.detections(record, boxes[i])],
        )
        for i, (first, last, failed) in enumerate(spans)
    ]


@dataclass(frozen=True, slots=True)
class _Decisions:
    """Decisions of a run of records, with their candidates and crops; numbers have four decimals."""

    start: int
    """Place of the first record of the run; the lists begin there."""
    kind: list[int]
    human: list[bool]
    confidence: list[float]
    named: list[str | None]
    """Category of the taxon that was decided on."""
    candidates: dict[int, list[tuple[str, float]]]
    """Categories and probabilities by record, the most probable first."""
    crops: dict[int, tuple[float, ...]]

    @classmethod
    def of(cls, study: Study, details: Details, classes: _Classes, start: int, end: int) -> "_Decisions":
        records = study.survey.records
        kind, human = records.kind[start:end], records.human[start:end]
        part = start + np.flatnonzero((kind != BLANK) & ~human)
        candidates: dict[int, list[tuple[str, float]]] = {}
        for record, taxon, probability in details.candidates(part):
            if taxon in classes.ids:
                candidates.setdefault(record, []).append((classes.ids[taxon], round(probability, 4)))
        columns = "round(box_x, 4), round(box_y, 4), round(box_width, 4), round(box_height, 4)"
        shown = details.fetch("observation", columns, records.frame[part], records.observation[part])
        taxa = [classes.ids[taxon.scientific_name] for taxon in study.survey.taxa]
        confidence = np.round(records.confidence[start:end].astype(np.float64), 4)
        return cls(
            start,
            kind.tolist(),
            human.tolist(),
            np.where(human, 1.0, np.nan_to_num(confidence)).tolist(),
            picked([*taxa, None], np.where(kind == ANIMAL, records.taxon[start:end], -1)),
            candidates,
            {record: box[:4] for record, box in zip(part.tolist(), shown, strict=True) if box[0] is not None},
        )

    def detections(self, record: int, boxes: list[tuple[Any, ...]]) -> list[_Detection]:
        """Detections of one record."""
        at = record - self.start
        kind, human, confidence = self.kind[at], self.human[at], self.confidence[at]
        if kind == BLANK:
            return []
        named: dict[str, float] = {}
        if own := self.named[at]:
            named[own] = confidence
        for id_, probability in self.candidates.get(record, ()):
            named.setdefault(id_, probability)
        classified = sorted(named.items(), key=lambda pair: -pair[1]) or msgspec.UNSET
        category = _CATEGORY_OF_KIND[KINDS[kind]]
        # A person gives one record for each taxon; a model gives one for the frame, and boxes of other kinds beside it.
        found = [
            _Detection(_CATEGORY_OF_KIND[b[1]], 1.0 if b[7] is None else _rounded(b[7]), tuple(map(_rounded, b[3:7])))
            for b in boxes
            if bool(b[0]) == human and (not human or b[1] == KINDS[kind])
        ]
        mine = [detection for detection in found if detection.category == category]
        if not mine:
            mine = [_Detection(category, confidence, self.crops.get(record, WHOLE_FRAME))]
            found = mine + found
        for detection in mine:
            detection.classifications = classified
        return found


def _rounded(value: float) -> float:
    return round(float(value), 4)
