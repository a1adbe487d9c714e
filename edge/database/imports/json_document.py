"""JSON files of any size: the document's parts are decoded one by one, so that one of them can be bad alone."""

import json
from collections.abc import Mapping
from pathlib import Path
from reprlib import Repr
from typing import Any

import msgspec

from edge.database.imports.import_result import ImportProblem
from edge.host.named_file import read_named
from edge.host.text_file import utf8_of

LARGEST_BYTES = 1_000_000_000
LARGEST_ODD_BYTES = 100_000_000
"""Of a file that is no strict JSON, as Python writes it (`NaN`): all of it has to be decoded at once."""
LONGEST_NAME = 200
_DEEP = "it is nested too deeply"
_shown = Repr()
_shown.maxstring = _shown.maxother = 60


class BadRow(Exception):
    """An entry that cannot be meant: what is there and what was expected."""


class Document:
    """The members of a JSON object, each decoded when it is asked for."""

    def __init__(self, members: Mapping[str, Any]) -> None:
        self._members = members

    @classmethod
    def read(cls, path: Path) -> "Document":
        """The document in a file. Raises `ImportProblem`."""
        try:
            return cls.of(read_named(path, LARGEST_BYTES))
        except OSError as error:
            raise ImportProblem(f"{path} cannot be read ({error.strerror}); check the path") from error
        except ValueError as error:
            raise ImportProblem(f"{path} is no JSON ({error}); nothing was imported; save it anew as UTF-8") from error

    @classmethod
    def of(cls, content: bytes) -> "Document":
        """Raises `ValueError`."""
        content = utf8_of(content)
        try:
            return cls(msgspec.json.decode(content, type=dict[str, msgspec.Raw]))
        except (msgspec.MsgspecError, RecursionError) as error:
            if len(content) > LARGEST_ODD_BYTES:
                raise ValueError(str(error)) from error
        try:
            document = json.loads(content)
        except RecursionError as error:
            raise ValueError(_DEEP) from error
        return cls(document if isinstance(document, dict) else {})

    def get(self, name: str) -> Any:
        """A member; `None` for one that is not there or cannot be decoded."""
        try:
            return decoded(self._members.get(name))
        except BadRow:
            return None

    def rows(self, name: str) -> list[Any] | None:
        """The entries of a list, each to be `decoded` by itself; `None` for what is no list."""
        member = self._members.get(name)
        if not isinstance(member, msgspec.Raw):
            return member if isinstance(member, list) else None
        try:
            return msgspec.json.decode(member, type=list[msgspec.Raw])
        except msgspec.MsgspecError:
            return None


def decoded(entry: Any) -> Any:
    """An entry of `Document.rows`. Raises `BadRow`."""
    if not isinstance(entry, msgspec.Raw):
        return entry
    try:
        return msgspec.json.decode(entry)
    except RecursionError as error:
        raise BadRow(_DEEP) from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadRow(str(error)) from error


def shown(value: object) -> str:
    """A value for a message, shortened."""
    try:
        return _shown.repr(value)
    except RecursionError:
        return "..."


def text_of(value: object, what: str, longest: int = LONGEST_NAME) -> str:
    """A text that a database can hold; empty for none. Raises `BadRow`."""
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > longest or not _is_unicode(value):
        raise BadRow(f"{what} is {shown(value)}; expected text of at most {longest} characters")
    return value


def _is_unicode(text: str) -> bool:
    try:
        return "\0" not in text and bool(text.encode() or True)
    except UnicodeEncodeError:  # half of a pair
        return False
