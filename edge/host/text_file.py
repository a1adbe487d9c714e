"""Text files as people save them: a byte-order mark at the start says how they are encoded and is no part of the text.

Notepad and Excel write such marks ("UTF-8 with BOM", "Unicode text"); they are invisible in an editor.
"""

import codecs
from pathlib import Path

from edge.host.named_file import read_named

MOST_BYTES = 16_000_000
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def read_text(path: Path, most_bytes: int = MOST_BYTES) -> str:
    """The text of a file without its byte-order mark. Raises `OSError` and `UnicodeDecodeError`."""
    return decoded(read_named(path, most_bytes))


def decoded(content: bytes) -> str:
    """Bytes as text, all line ends as one newline; UTF-8 unless the byte-order mark says UTF-16."""
    return content.decode(encoding_of(content)).replace("\r\n", "\n").replace("\r", "\n")


def utf8_of(content: bytes) -> bytes:
    """Bytes as UTF-8 without a byte-order mark."""
    encoding = encoding_of(content)
    return content if encoding == "utf-8" else content.decode(encoding).encode()


def encoding_of(content: bytes) -> str:
    """The encoding that the beginning of a text names, else UTF-8."""
    return next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
