"""Retrieval by embeddings: Recall@k and mAP@R (Musgrave et al. 2020, "A Metric Learning Reality Check")."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN

AT_ONCE = 512
"""Queries that are compared with all references at once: the distances of all would need gigabytes."""


@dataclass(frozen=True, slots=True)
class RetrievalFigures:
    """How well held-out images find training images of their label; all 0..1."""

    images: int
    """Number of held-out images whose label is among the training images; the others do not count."""

    recall_at_1: float
    recall_at_5: float
    map_at_r: float


def retrieval_figures(
    queries: NDArray[np.float32],
    query_truth: NDArray[np.int64],
    references: NDArray[np.float32],
    reference_truth: NDArray[np.int64],
) -> RetrievalFigures:
    """The figures of L2-normalised embeddings float32[Q, D] of queries and float32[R, D] of references, with labels."""
    knn = CustomKNN(CosineSimilarity())
    calculator = AccuracyCalculator(
        include=("precision_at_1", "mean_average_precision_at_r"), knn_func=knn, device=torch.device("cpu")
    )
    found, kinds = torch.from_numpy(references), torch.from_numpy(reference_truth)
    shown = np.isin(query_truth, reference_truth)
    queries, query_truth = queries[shown], query_truth[shown]
    sums = np.zeros(3)
    for start in range(0, len(queries), AT_ONCE):
        some, truth = (torch.from_numpy(array[start : start + AT_ONCE]) for array in (queries, query_truth))
        figures = calculator.get_accuracy(some, truth, found, kinds)
        nearest = knn(some, min(5, len(references)), found, False)[1]
        hits = float((kinds[nearest] == truth[:, None]).any(1).double().mean())
        sums += len(some) * np.array([figures["precision_at_1"], hits, figures["mean_average_precision_at_r"]])
    return RetrievalFigures(len(queries), *map(float, sums / max(len(queries), 1)))
