"""Losses on the embedding, by pytorch-metric-learning, for classification by prototypes and for retrieval."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from train.recipe import LossSettings


class MetricLoss(nn.Module):
    """float32[N, D] embeddings (L2-normalised), int64[N] labels -> the mean loss; it may have proxies, which are
    trained.
    """

    def __init__(self, settings: LossSettings, num_labels: int, embedding_dim: int) -> None:
        super().__init__()
        self.loss: Any = _LOSSES[settings.metric](num_labels, embedding_dim)
        self.miner: Any = None
        if settings.metric == "triplet":
            from pytorch_metric_learning.miners import TripletMarginMiner

            self.miner = TripletMarginMiner(margin=0.2, type_of_triplets="semihard")

    def forward(self, embedding: Tensor, labels: Tensor) -> Tensor:
        embedding = embedding.float()
        pairs = None if self.miner is None else self.miner(embedding, labels)
        loss: Tensor = self.loss(embedding, labels, pairs) if pairs is not None else self.loss(embedding, labels)
        return loss


def _arcface(num_labels: int, dim: int) -> nn.Module:
    """ArcFace (Deng et al. 2019)."""
    from pytorch_metric_learning.losses import ArcFaceLoss

    loss: nn.Module = ArcFaceLoss(num_labels, dim, margin=28.6, scale=30)
    return loss


def _subcenter_arcface(num_labels: int, dim: int) -> nn.Module:
    """Sub-center ArcFace (Deng et al. 2020): several centres a label, so that a wrong label can find one of its own."""
    from pytorch_metric_learning.losses import SubCenterArcFaceLoss

    loss: nn.Module = SubCenterArcFaceLoss(
        num_classes=num_labels, embedding_size=dim, margin=28.6, scale=30, sub_centers=3
    )
    return loss


def _proxy_anchor(num_labels: int, dim: int) -> nn.Module:
    """Proxy Anchor (Kim et al. 2020)."""
    from pytorch_metric_learning.losses import ProxyAnchorLoss

    loss: nn.Module = ProxyAnchorLoss(num_labels, dim, margin=0.1, alpha=32)
    return loss


def _supcon(num_labels: int, dim: int) -> nn.Module:
    """Supervised contrastive loss (Khosla et al. 2020)."""
    from pytorch_metric_learning.losses import SupConLoss

    loss: nn.Module = SupConLoss(temperature=0.1)
    return loss


def _triplet(num_labels: int, dim: int) -> nn.Module:
    """Triplet loss (Schroff et al. 2015) over the semi-hard triplets of the batch."""
    from pytorch_metric_learning.losses import TripletMarginLoss

    loss: nn.Module = TripletMarginLoss(margin=0.2)
    return loss


_LOSSES: dict[str, Callable[[int, int], nn.Module]] = {
    "arcface": _arcface,
    "subcenter_arcface": _subcenter_arcface,
    "proxy_anchor": _proxy_anchor,
    "supcon": _supcon,
    "triplet": _triplet,
}
