"""How well embeddings find their own kind: Recall@k and mAP@R.

Musgrave et al. 2020, "A Metric Learning Reality Check".
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN


@dataclass(frozen=True, slots=True)
class RetrievalFigures:
    """All 0..1; held-out pictures look for pictures of their label among the training pictures."""

    recall_at_1: float
    recall_at_5: float
    map_at_r: float


def retrieval_figures(
    queries: NDArray[np.float32],
    query_truth: NDArray[np.int64],
    references: NDArray[np.float32],
    reference_truth: NDArray[np.int64],
) -> RetrievalFigures:
    """Of L2-normalised embeddings float32[Q, D] and float32[R, D] with their labels."""
    knn = CustomKNN(CosineSimilarity())
    calculator = AccuracyCalculator(
        include=("precision_at_1", "mean_average_precision_at_r"), knn_func=knn, device=torch.device("cpu")
    )
    found = calculator.get_accuracy(
        torch.from_numpy(queries), torch.from_numpy(query_truth), torch.from_numpy(references),
        torch.from_numpy(reference_truth),
    )  # fmt: skip
    _, nearest = knn(torch.from_numpy(queries), min(5, len(references)), torch.from_numpy(references), False)
    hit = (reference_truth[nearest.numpy()] == query_truth[:, None]).any(1)
    return RetrievalFigures(
        float(found["precision_at_1"]), float(hit.mean()), float(found["mean_average_precision_at_r"])
    )
