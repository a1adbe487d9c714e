"""How much memory frames may take, so that no file can fill the device's, whatever it declares.

What a decoder will need is worked out from the headers of a file before anything is decoded. Decoders of most formats
hold every pixel, that of a progressive JPEG every coefficient; a baseline JPEG is decoded at a scale, row by row.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

from edge.image.bad_frame import BadFrame
from edge.vocabulary import FileReason

FILE_BYTES = 24_000_000
"""Bytes of files that are held at once; what a larger file has beyond it counts as its decoder's."""
DECODER_BYTES = 160_000_000
"""What decoders and their results may take at once."""
MAX_BYTES = FILE_BYTES + DECODER_BYTES // 2  # the rest is left for its pixels; a video is larger
_PER_THREAD = 0.15  # of both: more than a usual frame needs, so that frames never wait for each other on many cores


def refuse_costly(bytes_: int, what: str) -> None:
    """Raises `BadFrame` (too_large) where decoding would take more than `DECODER_BYTES`."""
    if bytes_ > DECODER_BYTES:
        needed, limit = -(-bytes_ // 1_000_000), DECODER_BYTES // 1_000_000
        raise BadFrame(FileReason.TOO_LARGE, f"{what} would take {needed:,} MB to decode, the limit is {limit} MB")


class MemoryBudget:
    """What all frames in hand take together; a frame waits until there is room for it.

    No frames wait for each other: each first asks for its file's bytes and then for its decoder's, and of those larger
    than `FILE_BYTES` there is one at a time.
    """

    def __init__(self, threads: int) -> None:
        scale = max(1.0, _PER_THREAD * threads)
        self._file_room, self._decoder_room = int(scale * FILE_BYTES), int(scale * DECODER_BYTES)
        self._changed = Condition()

    @contextmanager
    def share(self) -> Iterator["Share"]:
        """The share of one frame, given back at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            share.give_back()

    def exchange(self, file: int, decoder: int) -> None:
        """Take that much more, when there is room; give back what is negative."""
        with self._changed:
            self._changed.wait_for(lambda: self._file_room >= file and self._decoder_room >= decoder)
            self._file_room -= file
            self._decoder_room -= decoder
            self._changed.notify_all()


class Share:
    """What one frame takes of the budget."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._file = self._excess = self._decoder = 0

    def of_file(self, bytes_: int) -> None:
        """Wait for room for the bytes of the file."""
        self._file, self._excess = min(bytes_, FILE_BYTES), max(0, bytes_ - FILE_BYTES)
        self._budget.exchange(self._file, self._excess)

    def of_decoder(self, bytes_: int) -> None:
        """Wait for room for the decoder and its result, in place of those before."""
        self._free_decoder()
        self._budget.exchange(0, bytes_)
        self._decoder = bytes_

    def give_back(self) -> None:
        """The frame is done."""
        self._free_decoder()
        self._budget.exchange(-self._file, -self._excess)
        self._file = self._excess = 0

    def _free_decoder(self) -> None:
        self._budget.exchange(0, -self._decoder)
        self._decoder = 0
