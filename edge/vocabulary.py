"""Every closed set of words that the database, the model card and the reports share, each defined once.

The members are text: they go into SQL, JSON and messages as they are. Released migrations keep the text that they were
released with; a test compares the migrated schema's CHECK constraints with these sets.
"""

from enum import StrEnum


class Kind(StrEnum):
    """What a frame or a bounding box shows."""

    ANIMAL = "animal"
    HUMAN = "human"
    VEHICLE = "vehicle"
    BLANK = "blank"
    UNKNOWN = "unknown"


class DecisionReason(StrEnum):
    """Why a decision is what it is (`observation.reason`)."""

    CONFIDENT = "confident"
    ROLLED_UP = "rolled_up"
    BELOW_THRESHOLD = "below_threshold"
    OUT_OF_DISTRIBUTION = "out_of_distribution"
    BLANK = "blank"
    NOT_HERE = "not_here"
    """Outside the geofence or the species list."""
    STATIC = "static"
    """Part of the place, which returns at the same spot."""


class MediaStatus(StrEnum):
    """How far a file has come (`media.status`)."""

    PENDING = "pending"
    CLASSIFIED = "classified"
    UNREADABLE = "unreadable"
    UNSUPPORTED = "unsupported"


class FileReason(StrEnum):
    """Why a file cannot be classified (`media.reason`)."""

    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    EMPTY = "empty"
    TOO_LARGE = "too_large"
    NOT_AN_IMAGE = "not_an_image"
    UNSUPPORTED_FORMAT = "unsupported_format"
    PERMISSION = "permission"
    CRASHED_DECODER = "crashed_decoder"
    INTERNAL_ERROR = "internal_error"
    """An unforeseen error, tried again at the first start of another version of the software."""


class ClockDoubt(StrEnum):
    """A reason to doubt a capture time (`media.clock_doubt` holds any number of them, comma-separated)."""

    ZONE_ASSUMED = "zone_assumed"
    NO_EXIF = "no_exif"
    BEFORE_2005 = "before_2005"
    FUTURE = "future"
    BACKWARDS = "backwards"
    DST_GAP = "dst_gap"
    UNREADABLE_TIME = "unreadable_time"
    EDITED = "edited"
    RESET = "reset"
    DST_REPEAT = "dst_repeat"


class BoxSource(StrEnum):
    """Where a bounding box comes from (`observation.box_source`)."""

    ATTENTION = "attention"
    MOTION = "motion"
    DETECTOR = "detector"
    IMPORTED = "imported"
    HUMAN = "human"


class Method(StrEnum):
    """Who classified (`observation.method`)."""

    MACHINE = "machine"
    HUMAN = "human"


class ImageDoubt(StrEnum):
    """A reason to doubt that a frame's image is as the camera took it (`media.image_doubt`)."""

    THUMBNAIL_DIFFERS = "thumbnail_differs"
