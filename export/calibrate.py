"""Temperature, blank bias, second look and thresholds, fitted on a model's own (quantised) logits.

Everything is fitted with the edge's own functions. What is reported of the frames that it was fitted on comes from
cross-validation by group (`cross_validated`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.model_selection import GroupKFold

from edge.card import Calibration, Card, SecondLook
from edge.decide import Decider, Decision
from edge.taxonomy import RANKS, Tree
from export.judge import judge_taxon, node_lineage, truth_nodes
from export.looks import FloatArray, Looks
from export.scenes import UNSEEN, Scene

FOLDS = 5
PRECISION = {"kingdom": 0.9, "phylum": 0.9, "class": 0.9, "order": 0.8, "family": 0.8, "genus": 0.8, "species": 0.9,
             "blank": 0.8}  # fmt: skip
"""Wanted precision of answers, by rank or kind."""
UNPROVEN_THRESHOLD = 0.9
"""Where the data has too few answers to find a threshold."""
LEAST_ANSWERS = 8
"""Fewer right answers than these prove no threshold."""
SEARCH = 0.08
"""How far above the least allowed confidence a threshold may be moved to where few frames are."""
CLOSE = 0.015
"""How far int8 moves a probability, roughly."""
LEAST_THRESHOLD = 0.5
"""Below it another answer of the same rank could be the likelier one."""
NEVER = 1.01
"""No probability reaches it: the label rolls up."""
_WEIGHTS = (0.0, 0.5, 0.75, 1.0)
_BLANK_WEIGHTS = (0.0, 0.1, 0.25)


@dataclass(frozen=True, slots=True)
class Prior:
    """What is known before any fitting."""

    bias: dict[str, float]
    """By label name: minus the log of the number of classes that a label sums, so that many classes are no vote."""
    never: tuple[str, ...]
    """Labels that answer only at a higher rank."""


def prior(card: Card, groups: tuple[tuple[int, ...], ...] | None) -> Prior:
    """From the label table alone. A species that is the only label of its family attracts all its relatives in a model
    that was not trained on camera traps (every owl is the great grey owl), so it answers as its family.
    """
    if groups is None:
        return Prior({}, ())
    bias = {
        label.name: -float(np.log(len(group)))
        for label, group in zip(card.labels, groups, strict=True)
        if label.kind in ("animal", "vehicle") and len(group) > 1
    }
    families: dict[str, int] = {}
    for label in card.labels:
        if label.taxon is not None and label.taxon.family:
            families[label.taxon.family] = families.get(label.taxon.family, 0) + 1
    never = tuple(
        label.name
        for label in card.labels
        if label.taxon is not None and label.taxon.rank == "species" and families.get(label.taxon.family) == 1
    )
    return Prior(bias, never)


def fit_calibration(
    card: Card, looks: Looks, scenes: Sequence[Scene], known: Prior, fraction: float, fitted_on: str
) -> Calibration:
    """Fit everything on all `scenes`: least negative log-likelihood first, then thresholds for the wanted precision."""
    tree = Tree([label.taxon for label in card.labels], card.higher_taxa)
    blank = np.array([label.kind == "blank" for label in card.labels])
    compatible = _compatible(card, tree, scenes, blank)
    usable = compatible.any(axis=1)
    looks_used, compatible = looks.at(np.flatnonzero(usable)), compatible[usable]
    fits_blank = bool(blank.any() and any(scene.kind == "blank" for scene in scenes))
    plans: list[SecondLook | None] = [None]
    if looks.second is not None:
        pairs = [(w, b) for w in _WEIGHTS for b in (_BLANK_WEIGHTS if blank.any() else (0.0,)) if w or b]
        plans += [SecondLook(fraction, w, b) for w, b in pairs]
    best = min(
        (_fit_likelihood(card, looks_used, compatible, known, plan, blank, fits_blank) for plan in plans),
        key=lambda fit: fit.loss,
    )
    logs = looks.calibrated(bias_array(card, best.bias), best.temperature, best.plan, blank)
    return Calibration(
        temperature=best.temperature,
        thresholds=_thresholds(tree, logs, scenes, blank),
        label_thresholds=dict.fromkeys(known.never, NEVER),
        label_bias=best.bias,
        second_look=best.plan,
        fitted_on=fitted_on,
    )


def cross_validated(
    card: Card, looks: Looks, scenes: Sequence[Scene], known: Prior, fraction: float
) -> tuple[list[Decision], FloatArray]:
    """(decision, log-probabilities float32[N, L]) of each scene, with everything fitted on other groups' scenes."""
    groups = np.array([scene.group for scene in scenes])
    decisions: list[Decision | None] = [None] * len(scenes)
    logs = np.zeros_like(looks.first)
    blank = np.array([label.kind == "blank" for label in card.labels])
    folds = min(FOLDS, len(set(groups)))
    if folds < 2:
        folds_of = [(np.arange(len(scenes)), np.arange(len(scenes)))]
    else:
        folds_of = list(GroupKFold(folds).split(groups, groups=groups))
    for train, test in folds_of:
        fitted = fit_calibration(card, looks.at(train), [scenes[int(n)] for n in train], known, fraction, "")
        logs[test] = looks.at(test).calibrated(
            bias_array(card, fitted.label_bias), fitted.temperature, fitted.second_look, blank
        )
        decider = Decider(replace(card, calibration=fitted))
        for place in test:
            decisions[place] = decider.decide(logs[place])
    return [decision for decision in decisions if decision is not None], logs


def bias_array(card: Card, bias: dict[str, float]) -> FloatArray:
    """float32[L] in the order of the labels."""
    return np.array([bias.get(label.name, 0.0) for label in card.labels], np.float32)


@dataclass(frozen=True, slots=True)
class _Fit:
    loss: float
    temperature: float
    bias: dict[str, float]
    plan: SecondLook | None


def _fit_likelihood(
    card: Card, looks: Looks, compatible: NDArray[np.bool_], known: Prior, plan: SecondLook | None,
    blank: NDArray[np.bool_], fits_blank: bool,
) -> _Fit:  # fmt: skip
    names = [label.name for label in card.labels if label.kind == "blank"]

    def unpack(x: NDArray[np.float64]) -> tuple[float, dict[str, float]]:
        shift = dict.fromkeys(names, round(float(x[1]), 4)) if fits_blank else {}
        return round(float(np.exp(np.clip(x[0], -3, 3))), 4), {**known.bias, **shift}

    def loss(x: NDArray[np.float64]) -> float:
        temperature, bias = unpack(x)
        logs = looks.calibrated(bias_array(card, bias), temperature, plan, blank).astype(np.float64)
        return float(-np.logaddexp.reduce(np.where(compatible, logs, -np.inf), axis=1).mean())

    # The simplex is given: SciPy's own steps from zero are too short to leave it.
    simplex = np.array([[0.1, 0.0], [0.5, 0.0], [0.1, -1.0]] if fits_blank else [[0.1], [0.5]])
    options = {"xatol": 0.005, "fatol": 1e-4, "maxfev": 50, "initial_simplex": simplex}
    found = minimize(loss, simplex[0], method="Nelder-Mead", options=options)
    temperature, bias = unpack(found.x)
    return _Fit(float(found.fun), temperature, bias, plan)


def _compatible(card: Card, tree: Tree, scenes: Sequence[Scene], blank: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """bool[N, L]: labels whose probability speaks for the truth: those under its deepest taxon that the model has."""
    rows = np.zeros((len(scenes), len(card.labels)), bool)
    for row, scene, node in zip(rows, scenes, truth_nodes(tree, scenes), strict=True):
        if scene.label != UNSEEN and scene.kind != "blank":
            row[scene.label] = True
        elif scene.kind == "blank":
            row |= blank
        elif node > 0 or (node == 0 and blank.any()):  # the kingdom says something only where blank is another answer
            row[list(tree.nodes[node].labels)] = True
    return rows


def _thresholds(tree: Tree, logs: FloatArray, scenes: Sequence[Scene], blank: NDArray[np.bool_]) -> dict[str, float]:
    """For each rank the least probability from which on answers at that rank are right often enough."""
    p = np.exp(logs.astype(np.float64))
    members = np.zeros((len(tree.nodes), p.shape[1]))
    for n, node in enumerate(tree.nodes):
        members[n, list(node.labels)] = 1.0
    sums = p @ members.T
    thresholds: dict[str, float] = {}
    for rank in (rank for rank in RANKS if any(node.taxon.rank == rank for node in tree.nodes)):
        places = np.array([n for n, node in enumerate(tree.nodes) if node.taxon.rank == rank])
        best = places[sums[:, places].argmax(axis=1)]
        verdicts = [judge_taxon(node_lineage(tree, n), scene.lineage) for n, scene in zip(best, scenes, strict=True)]
        judged = np.array([verdict != "open" for verdict in verdicts])
        right = np.array([verdict == "right" for verdict in verdicts])
        confidence = sums[np.arange(len(scenes)), best]
        least = _least_confidence(confidence[judged], right[judged], PRECISION[rank])
        thresholds[rank] = UNPROVEN_THRESHOLD if least is None else max(LEAST_THRESHOLD, least)
    if blank.any():
        empty = np.array([scene.kind == "blank" for scene in scenes])
        least = _least_confidence(p[:, blank].sum(axis=1), empty, PRECISION["blank"])
        thresholds["blank"] = UNPROVEN_THRESHOLD if least is None else max(LEAST_THRESHOLD, least)
    return thresholds


def _least_confidence(confidence: NDArray[np.float64], right: NDArray[np.bool_], wanted: float) -> float | None:
    """The least confidence from which on answers are right at the wanted rate; `None` where too few are."""
    if right.sum() < LEAST_ANSWERS:
        return None
    order = np.argsort(-confidence, kind="stable")
    count = np.arange(1, len(order) + 1)
    rate = np.cumsum(right[order]) / count
    good = np.flatnonzero((rate >= wanted) & (count >= LEAST_ANSWERS))
    if not len(good):
        return None
    return _thinnest_place(confidence, float(confidence[order][good[-1]]))


def _thinnest_place(confidence: NDArray[np.float64], least: float) -> float:
    """A threshold at or a little above `least` with the fewest frames close to it, so that small changes of the
    probabilities (rounding, another processor) carry few frames across.
    """
    places = np.ceil(least * 200) / 200 + np.arange(0.0, SEARCH, 0.005)
    crowd = [(np.abs(confidence - place) < CLOSE).sum() for place in places]
    return round(float(places[int(np.argmin(crowd))]), 3)
