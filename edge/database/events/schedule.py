"""When the events of newly logged frames are brought up to date: now and then under a backlog, at once without one."""

import logging
import sqlite3
import time
from collections.abc import Iterable

from edge.database.events.grouping import Grouper
from edge.database.events.table import update_events

log = logging.getLogger(__name__)

LONGEST_STRETCH = 20_000  # frames without a silence between events: more would need the memory of a small device
BACKLOG_S = 1.0  # how often events are brought up to date while more frames are on their way
SLOW_S, UNHURRIED = 0.2, 20
"""What takes longer than `SLOW_S` is done again after `UNHURRIED` times its duration at the earliest."""
NEWEST_WITHOUT_EVENT = """
SELECT id FROM media WHERE status = 'classified' AND id > (SELECT coalesce(max(media), 0) FROM event_media)
ORDER BY id DESC LIMIT 5000
"""


class EventSchedule:
    """Keeps the frames whose events are not up to date, and decides when to update them.

    An event of weeks (a herd that stays, a time-lapse) is worked out as a whole for each new frame of it. That may not
    take the time of the frames themselves, so it is done now and then. Events can be made anew from the frames at any
    time (reports do it where they are missing), so a fault in the grouping is logged and no frame is lost for it.
    """

    def __init__(self, connection: sqlite3.Connection, grouper: Grouper, after_crash: bool) -> None:
        self._connection = connection
        self.grouper = grouper
        found = connection.execute(NEWEST_WITHOUT_EVENT).fetchall() if after_crash else []
        self._waiting = [media for (media,) in found]
        self._updated_at = self._next_at = 0.0

    def update(self, media: Iterable[int] = (), every_s: float = 0.0, at_once: bool = False) -> list[int]:
        """Inside the transaction that logged the frames `media`: update their events if it is time.

        Gives the frames that wait on, to be handed to `committed` when the transaction succeeded.
        """
        waiting = [*self._waiting, *media]
        began = time.monotonic()
        if not waiting:
            return []
        if not at_once and began < max(self._next_at, self._updated_at + every_s):
            return waiting
        try:
            update_events(self._connection, waiting, grouper=self.grouper, most_frames=LONGEST_STRETCH)
        except sqlite3.Error:
            raise
        except Exception as error:
            log.debug("media %s", waiting, exc_info=error)
            log.error("events of %d frames could not be updated (%s: %s)", len(waiting), type(error).__name__, error)
        self._updated_at = time.monotonic()
        took_s = self._updated_at - began
        if took_s > SLOW_S:
            self._next_at = self._updated_at + UNHURRIED * took_s
        return []

    def committed(self, waiting: list[int]) -> None:
        """The transaction succeeded: these frames' events are still to be updated."""
        self._waiting = waiting
