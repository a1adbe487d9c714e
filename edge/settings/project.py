"""The study that a configuration describes: the table [project]."""

from enum import StrEnum

import msgspec
from msgspec import Struct


class SamplingDesign(StrEnum):
    """How the cameras' places were chosen (the terms of Camtrap DP)."""

    SIMPLE_RANDOM = "simpleRandom"
    SYSTEMATIC_RANDOM = "systematicRandom"
    CLUSTERED_RANDOM = "clusteredRandom"
    EXPERIMENTAL = "experimental"
    TARGETED = "targeted"
    OPPORTUNISTIC = "opportunistic"


class CaptureMethod(StrEnum):
    """What makes the cameras take a frame (the terms of Camtrap DP)."""

    ACTIVITY_DETECTION = "activityDetection"
    TIME_LAPSE = "timeLapse"


class ContributorRole(StrEnum):
    """The part that a person or an organisation had (the terms of Camtrap DP)."""

    CONTACT = "contact"
    PRINCIPAL_INVESTIGATOR = "principalInvestigator"
    RIGHTS_HOLDER = "rightsHolder"
    PUBLISHER = "publisher"
    CONTRIBUTOR = "contributor"


class Contributor(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A person or an organisation of the study."""

    title: str
    role: ContributorRole | None = None
    email: str | None = None
    path: str | None = None
    organization: str | None = None


class Licence(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The licence of the data or of the media."""

    name: str | None = None
    path: str | None = None
    title: str | None = None
    scope: str | None = None


class Project(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table [project]: what reports and exports say of the study."""

    title: str = ""
    id: str = ""
    description: str = ""
    version: str = ""
    homepage: str = ""
    keywords: tuple[str, ...] = ()
    licenses: tuple[Licence, ...] = ()
    contributors: tuple[Contributor, ...] = ()
    bibliographic_citation: str = msgspec.field(name="bibliographicCitation", default="")
    sampling_design: SamplingDesign | None = None
    capture_method: tuple[CaptureMethod, ...] = ()
    individual_animals: bool = False
    sensitive: tuple[str, ...] = ()
    """Names of taxa whose cameras' coordinates are coarsened by `edge-report --obscure`."""
