"""Makes a small, real model for tests: an ONNX file with a model card, which runs in well under a millisecond.

Its weights are random (from a seed), so its predictions mean nothing, but the same frame always gets the same ones.
"""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edge.inference.card import METADATA_KEY, Calibration, Card, Gate, Label, LabelProof, Rejection, SecondCrop, Source
from edge.inference.taxonomy import Taxon
from edge.vocabulary import Kind

SIDE_PX = 32
_CELLS = 8  # the attention maps are 8 x 8
_CHANNELS = 16  # of the embedding
_MAPS = 4


def _species(name: str, common_name: str, class_: str, order: str, family: str) -> Label:
    taxon = Taxon(name, "species", common_name, class_, order, family, name.split()[0], name)
    return Label(common_name.replace(" ", "_"), Kind.ANIMAL, common_name, taxon)


LABELS = (
    _species("Capreolus capreolus", "roe deer", "Mammalia", "Artiodactyla", "Cervidae"),
    _species("Cervus elaphus", "red deer", "Mammalia", "Artiodactyla", "Cervidae"),
    _species("Sus scrofa", "wild boar", "Mammalia", "Artiodactyla", "Suidae"),
    _species("Vulpes vulpes", "red fox", "Mammalia", "Carnivora", "Canidae"),
    _species("Strix aluco", "tawny owl", "Aves", "Strigiformes", "Strigidae"),
    Label(Kind.BLANK, Kind.BLANK, Kind.BLANK),
)


def tiny_card(name: str = "tiny", version: str = "1") -> Card:
    """A card with every part filled in."""
    thresholds = {
        "kingdom": 0.4,
        "class": 0.5,
        "order": 0.55,
        "family": 0.6,
        "genus": 0.6,
        "species": 0.6,
        "blank": 0.5,
    }
    proofs = tuple(LabelProof(label.name, 10, 0.9, 0.9, 0.6, 0.98, 1.0, "passed") for label in LABELS)
    return Card(
        name,
        version,
        "2026-01-01T00:00:00Z",
        LABELS,
        SIDE_PX,
        SIDE_PX,
        calibration=Calibration(
            1.0,
            thresholds,
            second_look=SecondCrop(region_fraction=0.5, weight=0.6, blank_weight=0.3, unless_above=0.9),
            rejection=Rejection("energy", -50.0),
            fitted_on="nothing: random weights",
        ),
        higher_taxa=(Taxon("Cervidae", "family", "deer family"),),
        gate=Gate("nothing: made for tests", 60, {"agreement": 1.0}, {"agreement": 0.98}, proofs),
        sources=(Source("random numbers", "weights", "CC0-1.0"),),
        licence="CC0-1.0",
        notes=("it knows nothing",),
    )


def write_tiny_model(path: Path, card: Card | None = None, seed: int = 0, sharpness: float = 8.0) -> Path:
    """Write the model to `path`; `sharpness` scales the logits (NaN makes a model without a finite output)."""
    random = np.random.default_rng(seed)
    cell_px = SIDE_PX // _CELLS
    filters = random.normal(0, 0.3, (_CHANNELS, 3, cell_px, cell_px)).astype(np.float32)
    classifier = (random.normal(0, 1, (_CHANNELS, len(LABELS))) * sharpness).astype(np.float32)
    # Without it one label would win for every frame: the embedding of a grey frame gives equal logits.
    grey = random.normal(0, 0.3, (2000, 3, 1, 1)) + random.normal(0, 0.1, (2000, 3, cell_px, cell_px))
    usual = np.maximum(np.tensordot(grey, filters, ([1, 2, 3], [1, 2, 3])) + 0.1, 0).mean(axis=0)
    constants = {
        "scale": np.float32(1 / 128),
        "zero_point": np.uint8(127),
        "filters": filters,
        "bias": np.full(_CHANNELS, 0.1, np.float32),
        "classifier": classifier,
        "balance": (-usual / np.linalg.norm(usual) @ classifier).astype(np.float32),
        "maps_from": np.array([0], np.int64),
        "maps_to": np.array([_MAPS], np.int64),
        "channel_axis": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["pixels", "scale", "zero_point"], ["normalised"]),
        helper.make_node("Transpose", ["normalised"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "filters", "bias"], ["raw"], strides=[cell_px, cell_px]),
        helper.make_node("Relu", ["raw"], ["features"]),
        helper.make_node("Slice", ["features", "maps_from", "maps_to", "channel_axis"], ["attention"]),
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("LpNormalization", ["flat"], ["embedding"], axis=1, p=2),
        helper.make_node("Gemm", ["embedding", "classifier", "balance"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", SIDE_PX, SIDE_PX, 3])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(LABELS)]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", _CHANNELS]),
            helper.make_tensor_value_info("attention", TensorProto.FLOAT, ["N", _MAPS, _CELLS, _CELLS]),
        ],
        [numpy_helper.from_array(_array(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: (card or tiny_card()).to_json()})
    path.write_bytes(model.SerializeToString())
    return path


def _array(value: object) -> NDArray[np.generic]:
    return np.asarray(value)


def check(path: Path) -> None:
    """Raise when the file at `path` is no valid ONNX."""
    onnx.checker.check_model(str(path), full_check=True)
