"""Detection of species that the network was not trained on: AUROC of scores of familiarity."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp
from sklearn.metrics import roc_auc_score

from train.evaluation.metrics import Interval, bootstrap
from train.evaluation.predictions import UNSEEN, Predictions


@dataclass(frozen=True, slots=True)
class RejectionFigures:
    """How well one score detects unseen species; a higher score is more familiar."""

    score: str
    auroc: Interval
    known: int
    unseen: int


def familiarity_scores(predictions: Predictions) -> dict[str, NDArray[np.float64]]:
    """float64[N] by name of the score; the model card can name the first two.

    energy: log-sum-exp of the logits (Liu et al. 2020, "Energy-based Out-of-distribution Detection"); max_logit
    (Hendrycks et al. 2022, "Scaling Out-of-Distribution Detection"); nearest_prototype: the highest cosine to a label's
    mean training embedding.
    """
    logits = predictions.logits.astype(np.float64)
    return {
        "energy": np.asarray(logsumexp(logits, axis=1)),
        "max_logit": logits.max(1),
        "nearest_prototype": predictions.prototype_similarity.max(1).astype(np.float64),
    }


def rejection_figures(predictions: Predictions, seed: int = 0) -> tuple[RejectionFigures, ...]:
    """AUROC of each score, the mean over folds (scores of different networks are not comparable), with an interval over
    sequences. Empty without unseen samples.
    """
    truth = predictions.truth
    unseen = truth == UNSEEN
    if not unseen.any() or unseen.all():
        return ()
    groups = np.array(
        [f"{s}|{n}" if s == "" else s for s, n in zip(predictions.sequence, predictions.name, strict=True)]
    )
    figures = []
    for name, score in familiarity_scores(predictions).items():

        def auroc(places: NDArray[np.int64], score: NDArray[np.float64] = score) -> float:
            values = []
            for fold in np.unique(predictions.fold):
                own = places[predictions.fold[places] == fold]
                if unseen[own].any() and not unseen[own].all():
                    values.append(roc_auc_score(~unseen[own], score[own]))
            return float(np.mean(values)) if values else float("nan")

        images = len(np.unique(predictions.name[unseen]))
        figures.append(RejectionFigures(name, bootstrap(auroc, groups, seed), int((~unseen).sum()), images))
    return tuple(figures)
