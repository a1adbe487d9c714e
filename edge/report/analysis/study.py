"""A survey with the events, efforts and species table that several reports use."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edge.database.events.grouping import DEFAULT_RULES, Rules
from edge.report.analysis.events import Events, find_events
from edge.report.analysis.sampling_effort import Effort, find_effort, total_nights
from edge.report.analysis.species_table import Row, species_rows
from edge.report.read.filters import Selection
from edge.report.read.local_time import NO_TIME
from edge.report.read.survey import BLANK, CLASSIFIED, Frames, Survey
from edge.settings.project import Project


@dataclass
class Study:
    """The survey with its filters and rules; results are computed when first used."""

    survey: Survey
    selection: Selection = field(default_factory=Selection)
    rules: Rules = DEFAULT_RULES
    project: Project = Project()
    """The table [project] of the configuration."""

    @cached_property
    def events(self) -> Events:
        return find_events(self.survey, self.rules)

    @cached_property
    def efforts(self) -> tuple[Effort, ...]:
        return find_effort(self.survey, self.selection)

    @cached_property
    def species(self) -> list[Row]:
        return species_rows(self.survey, self.events, self.efforts)

    @cached_property
    def left_out(self) -> int:
        """Dated frames that count in no rate: without a believable time, or outside their camera's period."""
        frames = self.survey.frames
        return int(((frames.status == CLASSIFIED) & (frames.at != NO_TIME) & ~frames.clock_good).sum())

    def describe_left_out(self) -> str:
        """The same in one line; empty when there is none."""
        if not self.left_out:
            return ""
        one = self.left_out == 1
        frames = "1 frame is" if one else f"{self.left_out:,} frames are"
        return (
            f"{frames} outside the camera's period or without a believable time: left out of rates and effort;"
            " `edge-report health` tells more"
        )

    @cached_property
    def blank(self) -> NDArray[np.bool_]:
        """bool[frames]: frames without an animal."""
        records = self.survey.records
        blank = np.zeros(len(self.survey.frames), bool)
        blank[records.frame[records.kind == BLANK]] = True
        return blank

    def frames_of(self, place: int) -> Frames:
        """The classified frames of a deployment."""
        frames = self.survey.frames.take(self.survey.frames.of(place))
        return frames.take(frames.status == CLASSIFIED)

    @cached_property
    def cameras(self) -> list[int]:
        """Places of the deployments that have a classified frame or trap-nights."""
        seen = np.bincount(
            self.survey.frames.deployment[self.survey.frames.status == CLASSIFIED],
            minlength=len(self.survey.deployments),
        )
        return [i for i, effort in enumerate(self.efforts) if seen[i] or effort.trap_nights]

    @property
    def trap_nights(self) -> int:
        return total_nights(self.efforts)

    @cached_property
    def species_codes(self) -> NDArray[np.int64]:
        """Places in `Survey.taxa` of those of species rank."""
        return np.array([i for i, taxon in enumerate(self.survey.taxa) if taxon.rank == "species"], np.int64)
