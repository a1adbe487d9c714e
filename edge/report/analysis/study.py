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
from edge.report.read.survey import Survey
from edge.settings import Project


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

    @property
    def trap_nights(self) -> int:
        return total_nights(self.efforts)

    @cached_property
    def species_codes(self) -> NDArray[np.int64]:
        """Places in `Survey.taxa` of those of species rank."""
        return np.array([i for i, taxon in enumerate(self.survey.taxa) if taxon.rank == "species"], np.int64)
