"""datapackage.json of a Camtrap DP package, and the keys that only a person can fill in."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge import __version__
from edge.inference.taxonomy import ROOT_NAME
from edge.report.analysis.sampling_effort import deployment_period
from edge.report.analysis.study import Study
from edge.report.errors import ReportError
from edge.report.read.local_time import DAY_S, NO_TIME, day_text
from edge.report.read.survey import CLASSIFIED

VERSION = "1.0.2"
BASE = f"https://raw.githubusercontent.com/tdwg/camtrap-dp/{VERSION}/"


def dated_frames(study: Study) -> NDArray[np.bool_]:
    """bool[frames]: those that can be in a package, which wants a time for each."""
    frames = study.survey.frames
    return np.asarray((frames.status == CLASSIFIED) & (frames.at != NO_TIME))


def packaged_deployments(study: Study) -> list[int]:
    """Places of the deployments in a package: those with a dated frame, and those with undated frames of which a
    person said everything that the standard wants.
    """
    dated = np.bincount(study.survey.frames.deployment[dated_frames(study)], minlength=len(study.survey.deployments))
    return [
        place
        for place in study.cameras
        if dated[place]
        or (study.survey.deployments[place].has_place and deployment_period(study.survey, place) is not None)
    ]


def refuse_what_is_missing(study: Study) -> None:
    """Raise `ReportError` naming every key that only a person can fill in."""
    required = ("title", "contributors", "sampling_design", "capture_method")
    missing = [f"[project] {key}" for key in required if not getattr(study.project, key)]
    for place in packaged_deployments(study):
        deployment = study.survey.deployments[place]
        keys = [key for key in ("latitude", "longitude") if getattr(deployment, key) is None]
        name = (
            f"[deployment.{json.dumps(deployment.name)}]"
            if deployment.named
            else "[deployment.ID] (none is named: --deployment ID of edge-classify)"
        )
        missing += [f"{name} {key}" for key in keys]
    if missing:
        raise ReportError(f"Camtrap DP needs what only a person knows; missing in --config: {', '.join(missing)}")


def descriptor(study: Study, periods: list[tuple[int, int]]) -> dict[str, Any]:
    """datapackage.json; `periods` holds the (first, last) day of each deployment."""
    project, survey = study.project, study.survey
    used = np.unique(np.concatenate([survey.records.taxon, study.events.taxon]))
    places = [
        (d.longitude, d.latitude)
        for d in (survey.deployments[place] for place in packaged_deployments(study))
        if d.longitude is not None and d.latitude is not None
    ]
    today = day_text(int(datetime.now(UTC).timestamp()) // DAY_S)
    given = msgspec.to_builtins(project)
    optional = {
        key: given[key]
        for key in ("id", "description", "version", "keywords", "homepage", "licenses", "bibliographicCitation")
        if given[key]
    }
    precision = max((d.precision_deg for d in survey.deployments if d.precision_deg), default=None)
    return {
        "profile": f"{BASE}camtrap-dp-profile.json",
        "name": _slug(project.title),
        **optional,
        **({"coordinatePrecision": precision} if precision else {}),
        "title": project.title,
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "contributors": [{"role": "contributor", **person} for person in given["contributors"]],
        "sources": [
            {"title": "edge-classify", "version": __version__},
            *({"title": model.name, "version": model.version} for model in survey.models),
        ],
        "project": {
            "title": project.title,
            "samplingDesign": given["sampling_design"],
            "captureMethod": list(given["capture_method"]),
            "individualAnimals": project.individual_animals,
            "observationLevel": ["media", "event"],
        },
        "spatial": _spatial(places),
        "temporal": {
            "start": day_text(min(p[0] for p in periods)) if periods else today,
            "end": day_text(max(p[1] for p in periods)) if periods else today,
        },
        "taxonomic": [_taxonomic(survey.taxa[code]) for code in used.tolist() if code >= 0],
        "resources": [
            {
                "name": name,
                "path": f"{name}.csv",
                "profile": "tabular-data-resource",
                "format": "csv",
                "mediatype": "text/csv",
                "encoding": "utf-8",
                "schema": f"{BASE}{name}-table-schema.json",
            }
            for name in ("deployments", "media", "observations")
        ],
    }


def _slug(title: str) -> str:
    kept = "".join(c if c.isascii() and c.isalnum() else "-" for c in title.lower())
    return "-".join(part for part in kept.split("-") if part) or "camera-traps"


def _spatial(places: Iterable[tuple[float, float]]) -> dict[str, Any]:
    """The rectangle around the cameras as GeoJSON; a point when there is one place."""
    points = list(dict.fromkeys(places))
    if len(points) == 1:
        return {"type": "Point", "coordinates": list(points[0])}
    if not points:
        return {"type": "MultiPoint", "coordinates": []}
    west, east = min(p[0] for p in points), max(p[0] for p in points)
    south, north = min(p[1] for p in points), max(p[1] for p in points)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "bbox": [west, south, east, north], "coordinates": [ring]}


def _taxonomic(taxon: Any) -> dict[str, Any]:
    line = {"class": taxon.class_, "order": taxon.order, "family": taxon.family, "genus": taxon.genus}
    known = {"kingdom": ROOT_NAME, **{rank: name for rank, name in line.items() if name}}
    names = {"vernacularNames": {"eng": taxon.common_name}} if taxon.common_name else {}
    rank = {"taxonRank": taxon.rank} if taxon.rank else {}
    return {"scientificName": taxon.scientific_name, **rank, **known, **names}
