"""Whether a graph's inputs and outputs are those that its model card speaks of."""

from collections.abc import Sequence
from typing import Protocol

from edge.inference.card import Card, CardError


class Value(Protocol):
    """An input or output as ONNX Runtime describes it."""

    name: str
    type: str
    """Such as `tensor(float)`."""
    shape: Sequence[int | str | None]
    """A side that is no number may be any."""


def check_graph(card: Card, inputs: Sequence[Value], outputs: Sequence[Value]) -> None:
    """Raise `CardError` unless the graph takes `pixels` of the card's size and gives what the card's labels need."""
    if [value.name for value in inputs] != ["pixels"]:
        names = ", ".join(repr(value.name) for value in inputs) or "none"
        raise CardError(f"the graph's inputs are {names}; expected one, `pixels`")
    _check(inputs[0], "tensor(uint8)", (None, card.input_height_px, card.input_width_px, 3))
    given = {value.name: value for value in outputs}
    if card.task == "detect":
        _check_output(given, "detections", (None, None, None))
        return
    of_network = len(card.labels) - len(card.enrolled)
    _check_output(given, "logits", (None, of_network))
    if card.enrolled:
        width = next(map(len, card.prototypes.values()), None)
        _check_output(given, "embedding", (None, width))
    elif "embedding" in given:
        _check_output(given, "embedding", (None, None))
    if "attention" in given:
        _check_output(given, "attention", (None, None, None, None))


def _check_output(given: dict[str, Value], name: str, expected: tuple[int | None, ...]) -> None:
    if name not in given:
        raise CardError(f"the graph has no output `{name}`; export or adopt the model again")
    _check(given[name], "tensor(float)", expected)


def _check(value: Value, type_: str, expected: tuple[int | None, ...]) -> None:
    """Raise `CardError` where type or shape contradict what is expected (`None`: any number)."""
    agrees = len(value.shape) in (0, len(expected)) and all(
        wanted is None or not isinstance(side, int) or side == wanted
        for side, wanted in zip(value.shape, expected, strict=False)
    )
    if value.type != type_ or not agrees:
        sides = " x ".join("any" if side is None else str(side) for side in expected)
        told = " x ".join(str(side) for side in value.shape) or "none"
        raise CardError(f"the graph's `{value.name}` is {value.type} {told}; its card needs {type_} {sides}")
