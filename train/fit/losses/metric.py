"""Losses on the embedding, by pytorch-metric-learning, for classification by prototypes and for retrieval."""

from collections.abc import Callable
from typing import Any

from pytorch_metric_learning import losses, miners
from torch import Tensor, nn

from train.recipe import LossSettings

_LOSSES: dict[str, Callable[[int, int], Any]] = {
    # Deng et al. 2019, "ArcFace".
    "arcface": lambda labels, dim: losses.ArcFaceLoss(labels, dim, margin=28.6, scale=30),
    # Deng et al. 2020, "Sub-center ArcFace": several centres a label, so that a wrong label can find one of its own.
    "subcenter_arcface": lambda labels, dim: losses.SubCenterArcFaceLoss(
        num_classes=labels, embedding_size=dim, margin=28.6, scale=30, sub_centers=3
    ),
    # Kim et al. 2020, "Proxy Anchor Loss".
    "proxy_anchor": lambda labels, dim: losses.ProxyAnchorLoss(labels, dim, margin=0.1, alpha=32),
    # Khosla et al. 2020, "Supervised Contrastive Learning".
    "supcon": lambda labels, dim: losses.SupConLoss(temperature=0.1),
    # Schroff et al. 2015, "FaceNet", over the semi-hard triplets of the batch.
    "triplet": lambda labels, dim: losses.TripletMarginLoss(margin=0.2),
}


class MetricLoss(nn.Module):
    """float32[N, D] embeddings (L2-normalised), int64[N] labels -> the mean loss; it may have proxies, which are
    trained.
    """

    def __init__(self, settings: LossSettings, num_labels: int, embedding_dim: int) -> None:
        super().__init__()
        self.loss: Any = _LOSSES[settings.metric](num_labels, embedding_dim)
        self.miner: Any = None
        if settings.metric == "triplet":
            self.miner = miners.TripletMarginMiner(margin=0.2, type_of_triplets="semihard")

    def forward(self, embedding: Tensor, labels: Tensor) -> Tensor:
        embedding = embedding.float()
        pairs = () if self.miner is None else (self.miner(embedding, labels),)
        loss: Tensor = self.loss(embedding, labels, *pairs)
        return loss
