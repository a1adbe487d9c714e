"""The objective: the weighted sum of a recipe's losses over one batch."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from edge.inference.taxonomy import Taxon
from train.fit.losses.attention import PartCentres, attention_crop, attention_drop, box_attention_loss
from train.fit.losses.classification import ClassificationLoss
from train.fit.losses.metric import MetricLoss
from train.model.network import Network, Outputs
from train.recipe import LossSettings
from train.runtime.distributed import gathered_from_all


class Batch(NamedTuple):
    """The samples of one step."""

    pixels: Tensor
    """float32[N, 3, S, S], normalised."""
    targets: Tensor
    """float32[N, L] shares when mixed, else int64[N]."""
    labels: Tensor
    """int64[N]; for mixed images the label before mixing."""
    boxes: Tensor
    """float32[N, 4], NaN where unknown."""
    mixed: bool


class Objective(nn.Module):
    """The network with the losses' own parameters (proxies, centres) as one module, for DistributedDataParallel."""

    def __init__(
        self,
        network: Network,
        settings: LossSettings,
        counts: Sequence[float],
        taxa: Sequence[Taxon | None],
        embedding_dim: int,
    ) -> None:
        super().__init__()
        self.network, self.settings = network, settings
        self.classification = ClassificationLoss(settings, counts, taxa)
        self.metric = MetricLoss(settings, len(counts), embedding_dim) if settings.metric != "none" else None
        self.centres = PartCentres(len(counts), embedding_dim) if settings.part_centre_weight > 0 else None

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(loss, logits float32[N, L])."""
        settings = self.settings
        outputs: Outputs = self.network(batch.pixels)
        loss = outputs.logits.sum() * 0.0
        if settings.classification != "none":
            loss = loss + self.classification(outputs.logits.float(), batch.targets)
        if not batch.mixed and (self.metric is not None or self.centres is not None):
            # Pairs and centres are those of the whole batch, whatever number of processes share it.
            embedding, labels = gathered_from_all(outputs.embedding.float()), gathered_from_all(batch.labels)
            if self.metric is not None:
                loss = loss + settings.metric_weight * self.metric(embedding, labels)
            if self.centres is not None:
                loss = loss + settings.part_centre_weight * self.centres(embedding, labels)
        if settings.box_attention_weight > 0 and not batch.mixed:
            loss = loss + settings.box_attention_weight * box_attention_loss(outputs.attention, batch.boxes)
        for weight, changed in ((settings.attention_crop, attention_crop), (settings.attention_drop, attention_drop)):
            if weight > 0:
                with torch.no_grad():
                    pixels = changed(batch.pixels, outputs.attention)
                again: Outputs = self.network(pixels)
                loss = loss + weight * self.classification(again.logits.float(), batch.targets)
        return loss, outputs.logits.detach()
