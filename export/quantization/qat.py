"""Quantisation-aware training (QAT): fine-tunes the backbone so that in int8 it predicts as it did in float.

The float graph's backbone runs in PyTorch with its weights and activations rounded as the int8 graph will round them;
gradients pass through the rounding unchanged (Jacob et al. 2018, "Quantization and Training of Neural Networks for
Efficient Integer-Arithmetic-Only Inference"). It learns from the float network's own predictions (distillation), so
images need no labels. The observed ranges of activations, the pooling and the classifier stay the same.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from edge.image.decode import IMAGE_SUFFIXES
from edge.vocabulary import Kind
from export import ExportError
from export.graph import NETWORK_INPUT
from export.graph_edits import attributes
from export.quantization.quantize import WEIGHTED_OPS, body
from export.quantization.reproducible_sums import tie_free
from export.validation.labelled_frames import NO_LABEL, LabelledFrame
from train.model.network import Network, normalised

MOST_FRAMES = 300
BATCH = 8
LEARNING_RATE = 2e-5
SEED = 0
_REPORT_EVERY = 25
_FLOAT_DIFFERENCE = 1e-3  # largest relative difference between PyTorch's backbone and the graph's nodes run here
Ranges = Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Tuning:
    """The network to fine-tune, the images to learn from, and for how long."""

    network: Network
    """The float network that the graph was traced from."""
    frames: Sequence[LabelledFrame]
    """Images to learn from, whose labels do not matter; those that the gate judges by are left out."""
    steps: int
    """Number of batches."""


def unlabelled(folders: Sequence[Path]) -> list[LabelledFrame]:
    """At most `MOST_FRAMES` images below the folders, drawn at random. Raises `ExportError` for none."""
    paths = []
    for folder in folders:
        found = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
        if not found:
            raise ExportError(f"{folder} holds no image; expected some like the device's own, at any depth")
        paths += found
    if len(paths) > MOST_FRAMES:
        chosen = np.random.default_rng(SEED).choice(len(paths), MOST_FRAMES, replace=False)
        paths = [paths[place] for place in sorted(chosen.tolist())]
    return [LabelledFrame(path, str(path), Kind.UNKNOWN, (), NO_LABEL, str(path)) for path in paths]


def finetune(
    model: onnx.ModelProto, ranges: Ranges, images: NDArray[np.uint8], tuning: Tuning, progress: Callable[[str], None]
) -> onnx.ModelProto:
    """The float graph with weights fine-tuned on uint8[N, H, W, 3], to be quantised without correcting the biases.

    Raises `ExportError` when the backbone holds something that cannot be fine-tuned here.
    """
    torch.manual_seed(SEED)
    random = np.random.default_rng(SEED)
    teacher = tuning.network.eval()
    student = _Backbone(model, feature_map(model, teacher), ranges)
    optimiser = torch.optim.Adam(student.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, tuning.steps)
    recent: list[float] = []
    for step in range(tuning.steps):
        pixels = _draw(images, random)
        with torch.no_grad():
            features = teacher.backbone(pixels)
            wanted = _predictions(teacher, features)
        learnt = student(pixels)
        loss = functional.kl_div(_predictions(teacher, learnt), wanted, reduction="batchmean", log_target=True)
        loss = loss + functional.mse_loss(learnt, features) / features.square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        recent.append(loss.item())
        if (step + 1) % _REPORT_EVERY == 0:
            progress(f"fine-tuning step {step + 1} of {tuning.steps}: loss {np.mean(recent[-_REPORT_EVERY:]):.4f}")
    return student.written_into(model)


def _draw(images: NDArray[np.uint8], random: np.random.Generator) -> Tensor:
    """float32[BATCH, 3, H, W]: images drawn at random, half of them mirrored."""
    chosen = images[random.integers(0, len(images), BATCH)]
    mirrored = random.random(BATCH) < 0.5
    chosen = np.where(mirrored[:, None, None, None], chosen[:, :, ::-1], chosen)
    return normalised(torch.from_numpy(np.ascontiguousarray(chosen.transpose(0, 3, 1, 2))))


def _predictions(network: Network, features: Tensor) -> Tensor:
    """float32[N, L] log-probabilities, from the backbone's feature map."""
    pooled, _ = network.pooling(features)
    vector = pooled if network.projection is None else network.projection(pooled)
    classes = network.head(vector)
    return functional.log_softmax(classes if network.grouping is None else network.grouping(classes), 1)


def feature_map(model: onnx.ModelProto, network: Network) -> str:
    """Name of the graph's tensor that is the backbone's output, found by comparing values.

    Raises `ExportError` when the backbone has operators that cannot be fine-tuned.
    """
    side_px = [axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim][1:3]
    pixels = torch.from_numpy(np.random.default_rng(SEED).normal(0, 0.5, (1, 3, *side_px)).astype(np.float32))
    held = {initializer.name: initializer for initializer in model.graph.initializer}
    values = {NETWORK_INPUT: pixels}
    with torch.no_grad():
        expected = network.backbone(pixels)
        for node in model.graph.node:
            names = [name for name in node.input if name]
            if node.op_type not in _OPERATORS or not all(name in values or name in held for name in names):
                continue
            for name in names:
                if name in held and name not in values:
                    values[name] = torch.from_numpy(numpy_helper.to_array(held[name]).copy())
            found = values[node.output[0]] = _OPERATORS[node.op_type](
                [values[name] if name else None for name in node.input], attributes(node)
            )
            largest = _FLOAT_DIFFERENCE * expected.abs().max()
            if found.shape == expected.shape and (found - expected).abs().max() < largest:
                return str(node.output[0])
    raise ExportError(
        f"the backbone {network.spec.backbone} cannot be fine-tuned: it holds other operators than "
        f"{', '.join(_OPERATORS)}; omit --finetune"
    )


class _Backbone(nn.Module):
    """The graph's backbone, computed node by node: float32[N, 3, H, W] -> the feature map."""

    def __init__(self, model: onnx.ModelProto, end: str, ranges: Ranges) -> None:
        super().__init__()
        quantised = body(model)
        self._end = end
        self._nodes = _leading_to(model, end)
        self._constants: dict[str, Tensor] = {}
        self._weights = nn.ParameterDict()
        held = {initializer.name: initializer for initializer in model.graph.initializer}
        for node in self._nodes:
            for place, name in enumerate(node.input):
                if name in held:
                    value = torch.from_numpy(numpy_helper.to_array(held[name]).copy())
                    if node.op_type in WEIGHTED_OPS and place > 0:
                        self._weights[_key(name)] = nn.Parameter(value)
                    else:
                        self._constants[name] = value
        self._ranges = _rounded_tensors(quantised, tie_free(model, {node.name for node in quantised}, ranges))
        self._rounds_weight = {node.name for node in quantised if node.op_type in WEIGHTED_OPS}

    def forward(self, pixels: Tensor) -> Tensor:
        values: dict[str, Tensor] = {NETWORK_INPUT: pixels}
        for node in self._nodes:
            inputs = [self._input(node, place, name, values) for place, name in enumerate(node.input)]
            result = _OPERATORS[node.op_type](inputs, attributes(node))
            name = node.output[0]
            if name in self._ranges:
                result = torch.fake_quantize_per_tensor_affine(result, *self._ranges[name], 0, 255)
            values[name] = result
        return values[self._end]

    def written_into(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """A copy of the graph with the current weights."""
        copy = deepcopy(model)
        for initializer in copy.graph.initializer:
            if _key(initializer.name) in self._weights:
                value = self._weights[_key(initializer.name)].detach().numpy()
                initializer.CopyFrom(numpy_helper.from_array(value, initializer.name))
        return copy

    def _input(self, node: onnx.NodeProto, place: int, name: str, values: Mapping[str, Tensor]) -> Tensor | None:
        if not name:
            return None  # an optional input that is left out
        if name in values:
            return values[name]
        if _key(name) not in self._weights:
            return self._constants[name]
        weight = self._weights[_key(name)]
        return _round_weight(weight) if place == 1 and node.name in self._rounds_weight else weight


def _key(name: str) -> str:
    return name.replace(".", "/")  # a parameter's name may hold no dot


def _leading_to(model: onnx.ModelProto, end: str) -> list[onnx.NodeProto]:
    """The nodes between the network's input and the tensor `end`, in order."""
    wanted, kept = {end}, []
    for node in reversed(model.graph.node):
        if wanted & set(node.output) and NETWORK_INPUT not in node.output:
            wanted |= set(node.input)
            kept.append(node)
    return kept[::-1]


def _rounded_tensors(quantised: Sequence[onnx.NodeProto], ranges: Ranges) -> dict[str, tuple[float, int]]:
    """(scale, zero point) of each tensor that the int8 graph rounds: all but the inputs of a Clip or Relu."""
    clipped = {node.input[0] for node in quantised if node.op_type in ("Clip", "Relu")}
    rounded = {}
    for name in (name for node in quantised for name in node.output if name not in clipped):
        low, high = ranges[name]
        scale = max(high - low, 1e-12) / 255
        rounded[name] = (scale, int(np.clip(round(-low / scale), 0, 255)))
    return rounded


def _round_weight(weight: Tensor) -> Tensor:
    """Round as the int8 graph does: symmetric, with one scale for each output channel."""
    scale = weight.detach().flatten(1).abs().amax(1).clamp_min(1e-12) / 127
    zero_points = torch.zeros(len(weight), dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero_points, 0, -127, 127)


def _convolve(inputs: list[Any], given: dict[str, Any]) -> Tensor:
    values, weight, bias = [*inputs, None][:3]
    size = weight.ndim - 2
    begin, end = given.get("pads", [0] * 2 * size)[:size], given.get("pads", [0] * 2 * size)[size:]
    if any(begin) or any(end):
        # PyTorch's padding begins with the last axis.
        sides = [side for axis in reversed(range(size)) for side in (begin[axis], end[axis])]
        values = functional.pad(values, sides)
    strides, dilations = given.get("strides", [1] * size), given.get("dilations", [1] * size)
    return functional.conv2d(values, weight, bias, strides, 0, dilations, given.get("group", 1))


def _max_pool(inputs: list[Any], given: dict[str, Any]) -> Tensor:
    top, left, bottom, right = given.get("pads", [0, 0, 0, 0])
    values = functional.pad(inputs[0], [left, right, top, bottom], value=-torch.inf)
    return functional.max_pool2d(
        values, given["kernel_shape"], given.get("strides", [1, 1]), ceil_mode=bool(given.get("ceil_mode"))
    )


def _average_pool(inputs: list[Any], given: dict[str, Any]) -> Tensor:
    top, left, bottom, right = given.get("pads", [0, 0, 0, 0])
    if (top, left) != (bottom, right):
        raise ExportError("an AveragePool with uneven padding cannot be fine-tuned; omit --finetune")
    ceil_mode, counts_padding = bool(given.get("ceil_mode")), bool(given.get("count_include_pad"))
    strides = given.get("strides", [1, 1])
    return functional.avg_pool2d(inputs[0], given["kernel_shape"], strides, [top, left], ceil_mode, counts_padding)


_OPERATORS: dict[str, Callable[[list[Any], dict[str, Any]], Tensor]] = {
    "Conv": _convolve,
    "Clip": lambda inputs, given: torch.clamp(inputs[0], *inputs[1:]),
    "Relu": lambda inputs, given: functional.relu(inputs[0]),
    "Sigmoid": lambda inputs, given: torch.sigmoid(inputs[0]),
    "Add": lambda inputs, given: inputs[0] + inputs[1],
    "Mul": lambda inputs, given: inputs[0] * inputs[1],
    "Concat": lambda inputs, given: torch.cat(inputs, given["axis"]),
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "Identity": lambda inputs, given: inputs[0],
}
