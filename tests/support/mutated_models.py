"""Mutants of small models: cards and graphs changed by type, range and structure, and files flipped, cut and mixed."""

import copy
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge.inference.card import METADATA_KEY, Label
from edge.inference.taxonomy import Taxon
from edge.vocabulary import Kind
from tests.support.tiny_detector import write_known_detector
from tests.support.tiny_model import LABELS, tiny_card, write_tiny_model

NAMES = ("", " ", "x" * 300, "a\nb", "\x1b[31mred", "\u202egnp.exe", "\x00", "Ä", "🦌", "../..", "%s%n", "'; --")
NUMBERS = (0, -1, 1, 2, 0.5, -0.0, 1e-320, 1e308, -1e308, 10**30, 10**400, 16_384, 100_001, -(2**63), 1e999)
ODD: tuple[Any, ...] = (None, True, False, [], {}, [[]], {"": {}}, [None] * 50, *NAMES, *NUMBERS)
LITERALS = ("NaN", "Infinity", "-Infinity", '"\\ud800"', "1e999", "[" * 5000, '{"a":' * 3000, "0x10", "01", "'a'", "")
_MARK = "ODD-LITERAL"

Random = random.Random


@dataclass(frozen=True, slots=True)
class Mutant:
    """A model's file, and what lies beside it."""

    kind: str
    """What was done to it, in a word."""
    content: bytes
    checksum: bytes | None = None


def mutants(folder: Path, seed: int, count: int) -> Iterator[Mutant]:
    """`count` mutants of three models, always the same ones for a seed; `folder` is for the models' own files."""
    chosen = random.Random(seed)
    bases = _bases(folder)
    for number in range(count):
        name, base = bases[number % len(bases)]
        kind, change = KINDS[chosen.randrange(len(KINDS))]
        try:
            content = change(chosen, copy.deepcopy(base))
        except (ValueError, TypeError, IndexError, KeyError):  # protobuf itself does not take this value
            content = flipped(chosen, base)
        checksum = chosen.choice((None, None, None, b"", b"0" * 64, b"\xff\xfe\x00", b"MODEL\n" * 20))
        yield Mutant(f"{name}: {kind}", content, checksum)


def _bases(folder: Path) -> list[tuple[str, onnx.ModelProto]]:
    lynx = Label("lynx", Kind.ANIMAL, "lynx", Taxon("Lynx lynx", "species", "lynx", "Mammalia", "Carnivora", "Felidae"))
    vectors = {label.name: tuple(float(i == n) for i in range(16)) for n, label in enumerate((*LABELS, lynx))}
    card = replace(tiny_card(), labels=(*LABELS, lynx), enrolled=("lynx",), prototypes=vectors, prototype_scale=10.0)
    files = {
        "classifier": write_tiny_model(folder / "base-classifier.onnx"),
        "detector": write_known_detector(folder / "base-detector.onnx", [(0.1, 0.1, 0.4, 0.4, 0.9, 0)]),
        "enrolled": write_tiny_model(folder / "base-enrolled.onnx", card),
    }
    return [(name, onnx.load(str(path))) for name, path in files.items()]


def with_card(model: onnx.ModelProto, text: bytes) -> bytes:
    """The file with this card, which need not be UTF-8."""
    helper.set_model_props(model, {METADATA_KEY: "#" * len(text)})
    content: bytes = model.SerializeToString()
    return content.replace(b"#" * len(text), text, 1) if text else content


def _document(model: onnx.ModelProto) -> dict[str, Any]:
    document: dict[str, Any] = json.loads({entry.key: entry.value for entry in model.metadata_props}[METADATA_KEY])
    return document


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a document."""
    for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(item, dict | list):
            yield from _places(item)


def _another_value(chosen: Random, document: dict[str, Any]) -> str:
    container, key = chosen.choice(list(_places(document)))
    container[key] = chosen.choice(ODD)
    return json.dumps(document)


def _another_number(chosen: Random, document: dict[str, Any]) -> str:
    numbers = [(c, k) for c, k in _places(document) if type(c[k]) in (int, float)]
    container, key = chosen.choice(numbers)
    container[key] = chosen.choice(NUMBERS)
    return json.dumps(document)


def _another_text(chosen: Random, document: dict[str, Any]) -> str:
    container, key = chosen.choice([(c, k) for c, k in _places(document) if isinstance(c[k], str)])
    container[key] = chosen.choice((*NAMES, chosen.choice(LABELS).name, "y" * 200_000))
    return json.dumps(document)


def _literal(chosen: Random, document: dict[str, Any]) -> str:
    container, key = chosen.choice(list(_places(document)))
    container[key] = _MARK
    return json.dumps(document).replace(f'"{_MARK}"', chosen.choice(LITERALS), 1)


def _without(chosen: Random, document: dict[str, Any]) -> str:
    container, key = chosen.choice(list(_places(document)))
    del container[key]
    return json.dumps(document)


def _swapped(chosen: Random, document: dict[str, Any]) -> str:
    places = list(_places(document))
    (one, a), (other, b) = chosen.choice(places), chosen.choice(places)
    one[a], other[b] = copy.deepcopy(other[b]), copy.deepcopy(one[a])
    return json.dumps(document)


def _repeated(chosen: Random, document: dict[str, Any]) -> str:
    container, key = chosen.choice([(c, k) for c, k in _places(document) if isinstance(c[k], list) and c[k]])
    container[key] = container[key] * chosen.choice((2, 50, 3000))
    return json.dumps(document)


def _named_otherwise(chosen: Random, document: dict[str, Any]) -> str:
    container, key = chosen.choice([(c, k) for c, k in _places(document) if isinstance(c, dict)])
    container[chosen.choice((*NAMES, "species", "blank", "kingdom", "value"))] = container.pop(key)
    return json.dumps(document)


def _twice(chosen: Random, document: dict[str, Any]) -> str:
    key = chosen.choice(list(document))
    return f"{json.dumps(document)[:-1]}, {json.dumps(key)}: {json.dumps(chosen.choice(ODD))}}}"


def _odd_metrics(chosen: Random, document: dict[str, Any]) -> str:
    figures = chosen.choice((*ODD, {"share_answered": chosen.choice(ODD)}, {"figures": {"images": chosen.choice(ODD)}}))
    document["metrics"] = {
        "field": {"share_answered": 0.5, "frames": chosen.choice(ODD), "answers_species": {"precision": figures}},
        "data": figures,
        chosen.choice(NAMES): {"figures": figures},
    }
    document["gate"]["figures"] = {"accuracy_float": 0.5, "labelled_images": 3}
    return json.dumps(document)


def _labels(chosen: Random, document: dict[str, Any]) -> str:
    count = chosen.choice((0, 1, 5, 7, 1000, 100_000, 100_001))
    label = document["labels"][0]
    document["labels"] = [label | {"name": f"l{n}"} for n in range(count)]
    return json.dumps(document)


CARD_CHANGES = (
    *(_another_value, _another_number, _another_number, _another_text, _literal, _without, _swapped, _repeated),
    *(_named_otherwise, _twice, _odd_metrics, _labels),
)


def _card_change(chosen: Random, model: onnx.ModelProto) -> bytes:
    return with_card(model, chosen.choice(CARD_CHANGES)(chosen, _document(model)).encode("utf-8", "surrogatepass"))


def _card_bytes(chosen: Random, model: onnx.ModelProto) -> bytes:
    text = bytearray(json.dumps(_document(model), ensure_ascii=False).encode())
    for _ in range(chosen.choice((1, 1, 3, 30))):
        place = chosen.randrange(len(text))
        match chosen.randrange(4):
            case 0:
                text[place] = chosen.randrange(256)
            case 1:
                del text[place : place + chosen.choice((1, 10, 1000))]
            case 2:
                text[place:place] = chosen.choice((b"\xff", b"\xed\xa0\x80", b"\x00", b"\xef\xbb\xbf", b"\\", b'"'))
            case _:
                text[place:place] = text[place // 2 : place]
    return with_card(model, bytes(text))


def flipped(chosen: Random, model: onnx.ModelProto) -> bytes:
    """The file with some bytes changed."""
    content = bytearray(model.SerializeToString())
    for _ in range(chosen.choice((1, 2, 8, 40))):
        content[chosen.randrange(len(content))] = chosen.randrange(256)
    return bytes(content)


def _graph_flipped(chosen: Random, model: onnx.ModelProto) -> bytes:
    """Flips in the graph, the card left whole, so that the card does not stop them."""
    entries = {entry.key: entry.value for entry in model.metadata_props}
    del model.metadata_props[:]
    content = flipped(chosen, model)
    tail = onnx.ModelProto()
    helper.set_model_props(tail, entries)
    return content + bytes(tail.SerializeToString())


def _cut(chosen: Random, model: onnx.ModelProto) -> bytes:
    content: bytes = model.SerializeToString()
    a, b = sorted((chosen.randrange(len(content)), chosen.randrange(len(content))))
    return chosen.choice((content[:a], content[a:b], content[:a] + content[b:], content[:b] + content[a:], b""))


def _tensor(chosen: Random, model: onnx.ModelProto) -> bytes:
    tensor = chosen.choice(model.graph.initializer)
    match chosen.randrange(5):
        case 0:
            with np.errstate(all="ignore"):
                array = numpy_helper.to_array(tensor).astype(np.float64) * chosen.choice((np.nan, np.inf, 1e38, 0.0))
                kind = helper.tensor_dtype_to_np_dtype(tensor.data_type)
                tensor.CopyFrom(numpy_helper.from_array(array.astype(kind), tensor.name))
        case 1:
            tensor.dims[chosen.randrange(len(tensor.dims))] = chosen.choice((0, -1, 1, 2**31, 2**62))
        case 2:
            tensor.data_type = chosen.randrange(24)
        case 3:
            tensor.data_location = TensorProto.EXTERNAL
            place = chosen.choice(("weights.bin", "/etc/passwd", "../x", "", "/dev/zero", "/proc/self/mem"))
            for key, value in (
                ("location", place),
                ("offset", "0"),
                ("length", chosen.choice(("4", "99999999", "-1"))),
            ):
                entry = tensor.external_data.add()
                entry.key, entry.value = key, value
        case _:
            tensor.raw_data = tensor.raw_data[: chosen.randrange(len(tensor.raw_data) + 1)]
    return bytes(model.SerializeToString())


def _interface(chosen: Random, model: onnx.ModelProto) -> bytes:
    value = chosen.choice((*model.graph.input, *model.graph.output))
    match chosen.randrange(5):
        case 0:
            value.name = chosen.choice(("images", "", "pixels2", "logits"))
        case 1:
            value.type.tensor_type.elem_type = chosen.randrange(1, 17)
        case 2:
            sides = value.type.tensor_type.shape.dim
            sides[chosen.randrange(len(sides))].dim_value = chosen.choice((0, 1, 2, 3, 5, 64, 2**40))
        case 3:
            value.type.tensor_type.ClearField("shape")
        case _:
            outputs = model.graph.output
            del outputs[chosen.randrange(len(outputs))]
    return bytes(model.SerializeToString())


def _nodes(chosen: Random, model: onnx.ModelProto) -> bytes:
    nodes = model.graph.node
    node = chosen.choice(nodes)
    match chosen.randrange(6):
        case 0:
            nodes.remove(node)
        case 1:
            node.op_type = chosen.choice(("Relu", "Nothing", "Loop", "Identity", "Conv", "Softmax", ""))
        case 2:
            nodes.append(copy.deepcopy(node))
        case 3:
            node.input[chosen.randrange(len(node.input))] = chosen.choice((*node.output, "pixels", "", "nowhere"))
        case 4 if node.attribute:
            attribute = chosen.choice(node.attribute)
            attribute.i, attribute.type = chosen.choice((-1, 0, 2**40)), chosen.choice((2, 1, 7))
        case _:
            node.domain = chosen.choice(("com.microsoft", "ai.onnx.ml", "nobody"))
    return bytes(model.SerializeToString())


def _versions(chosen: Random, model: onnx.ModelProto) -> bytes:
    if chosen.random() < 0.5:
        model.opset_import[0].version = chosen.choice((0, 1, 7, 13, 21, 99, 2**40))
    else:
        model.ir_version = chosen.choice((0, 1, 3, 99, 2**40))
    return bytes(model.SerializeToString())


def _metadata(chosen: Random, model: onnx.ModelProto) -> bytes:
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, chosen.choice(("{}", "null", "", json.dumps(_document(model))))
    if chosen.random() < 0.3:
        del model.metadata_props[0]
    return bytes(model.SerializeToString())


def _no_model(chosen: Random, model: onnx.ModelProto) -> bytes:
    return chosen.choice(
        (b"", b"\x00" * 1000, chosen.randbytes(5000), b"{}", b"version https://git-lfs.github.com/spec/v1\n" * 3,
         b"PK\x03\x04" + chosen.randbytes(300), b"\x18\x00\x00\x00ORTM" + chosen.randbytes(4000))
    )  # fmt: skip


KINDS: tuple[tuple[str, Callable[[Random, onnx.ModelProto], bytes]], ...] = (
    *(("card", _card_change),) * 6,
    ("card's bytes", _card_bytes),
    ("flipped", flipped),
    ("graph flipped", _graph_flipped),
    ("graph flipped", _graph_flipped),
    ("cut", _cut),
    ("tensor", _tensor),
    ("inputs and outputs", _interface),
    ("nodes", _nodes),
    ("versions", _versions),
    ("metadata", _metadata),
    ("no model", _no_model),
)


def hungry_model(path: Path, side: int = 40_000) -> Path:
    """A sound card on a graph that makes a square of `side` * `side` numbers for every image."""
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["square"]),
        helper.make_node("ReduceSum", ["square"], ["sum"], keepdims=0),
    ]
    return _with_sum(path, nodes, {"shape": np.array([side, side], np.int64)})


def endless_model(path: Path) -> Path:
    """A sound card on a graph that counts to 2^62 for every image."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["goes_on"], ["goes_on_out"]),
            helper.make_node("Add", ["total", "total"], ["total_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("total", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("goes_on_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("total_out", TensorProto.FLOAT, []),
        ],
    )
    constants = {"rounds": np.array(2**62, np.int64), "yes": np.array(True), "zero": np.array(0, np.float32)}
    return _with_sum(path, [helper.make_node("Loop", ["rounds", "yes", "zero"], ["sum"], body=body)], constants)


def _with_sum(path: Path, nodes: list[onnx.NodeProto], constants: dict[str, Any]) -> Path:
    """The small classifier with a number `sum`, which nodes work out, added to its logits."""
    model = onnx.load(str(write_tiny_model(path)))
    last = model.graph.node[-1]
    last.output[0] = "usual"
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    )
    model.graph.node.extend([*nodes, helper.make_node("Add", ["usual", "sum"], ["logits"])])
    path.write_bytes(model.SerializeToString())
    return path
