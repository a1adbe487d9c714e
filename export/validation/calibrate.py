"""Temperature, blank bias, second look and thresholds, fitted on a model's own (quantised) logits.

Everything is fitted with the edge's own functions. What is reported of the frames that it was fitted on comes from
cross-validation by group (`cross_validated`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.model_selection import GroupKFold

from edge.inference.card import Calibration, Card, SecondCrop
from edge.inference.decision import Decider, Decision
from edge.inference.probabilities import FloatArray
from edge.inference.taxonomy import Tree
from export.validation.labelled_frames import UNSEEN, LabelledFrame
from export.validation.model_outputs import ModelOutputs, bias_array
from export.validation.score_decision import truth_nodes
from export.validation.thresholds import fit_thresholds

FOLDS = 5
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


def prior_of(card: Card) -> Prior:
    """What was known before the fitting of a finished card."""
    fitted = card.calibration
    blanks = {label.name for label in card.labels if label.kind == "blank"}
    bias = {name: value for name, value in fitted.label_bias.items() if name not in blanks}
    return Prior(bias, tuple(name for name, threshold in fitted.label_thresholds.items() if threshold == NEVER))


def fit_calibration(
    card: Card, looks: ModelOutputs, scenes: Sequence[LabelledFrame], known: Prior, fraction: float, fitted_on: str,
    others: Sequence[ModelOutputs] = (),
) -> Calibration:  # fmt: skip
    """Fit everything on all `scenes`: least negative log-likelihood first, then thresholds for the wanted precision.

    `others` are looks at other renderings of the same scenes; thresholds stand where these seldom change a decision.
    """
    tree = Tree([label.taxon for label in card.labels], card.higher_taxa)
    blank = np.array([label.kind == "blank" for label in card.labels])
    compatible = _compatible(card, tree, scenes, blank)
    usable = compatible.any(axis=1)
    looks_used, compatible = looks.at(np.flatnonzero(usable)), compatible[usable]
    fits_blank = bool(blank.any() and any(scene.kind == "blank" for scene in scenes))
    plans: list[SecondCrop | None] = [None]
    if looks.second is not None:
        pairs = [(w, b) for w in _WEIGHTS for b in (_BLANK_WEIGHTS if blank.any() else (0.0,)) if w or b]
        plans += [SecondCrop(fraction, w, b) for w, b in pairs]
    best = min(
        (_fit_likelihood(card, looks_used, compatible, known, plan, blank, fits_blank) for plan in plans),
        key=lambda fit: fit.loss,
    )
    bias = bias_array(card, best.bias)
    renderings = [seen.calibrated(bias, best.temperature, best.plan, blank) for seen in (looks, *others)]
    silent = [place for place, label in enumerate(card.labels) if label.name in known.never]
    return Calibration(
        temperature=best.temperature,
        thresholds=fit_thresholds(tree, renderings, scenes, blank, silent),
        label_thresholds=dict.fromkeys(known.never, NEVER),
        label_bias=best.bias,
        second_look=best.plan,
        fitted_on=fitted_on,
    )


def cross_validated(
    card: Card,
    looks: ModelOutputs,
    scenes: Sequence[LabelledFrame],
    known: Prior,
    fraction: float,
    others: Sequence[ModelOutputs] = (),
) -> tuple[list[Decision], FloatArray]:
    """(decision, log-probabilities float32[N, L]) of each scene, with everything fitted on other groups' scenes."""
    decisions: list[Decision | None] = [None] * len(scenes)
    logs = np.zeros_like(looks.first)
    for test, fitted in calibrations(card, looks, scenes, known, fraction, others):
        logs[test] = looks.at(test).under(card, fitted)
        decider = Decider(replace(card, calibration=fitted))
        for place in test:
            decisions[place] = decider.decide(logs[place])
    return [decision for decision in decisions if decision is not None], logs


def calibrations(
    card: Card,
    looks: ModelOutputs,
    scenes: Sequence[LabelledFrame],
    known: Prior,
    fraction: float,
    others: Sequence[ModelOutputs] = (),
) -> Iterator[tuple[NDArray[np.intp], Calibration]]:
    """(places, what was fitted on the scenes of all groups that have none there) until every scene had its turn."""
    groups = np.array([scene.group for scene in scenes])
    folds = min(FOLDS, len(set(groups)))
    everything = np.arange(len(scenes))
    parts = [(everything, everything)] if folds < 2 else GroupKFold(folds).split(groups, groups=groups)
    for train, test in parts:
        seen = [scenes[int(place)] for place in train]
        elsewhere = [other.at(train) for other in others]
        yield test, fit_calibration(card, looks.at(train), seen, known, fraction, "", elsewhere)


@dataclass(frozen=True, slots=True)
class _Fit:
    loss: float
    temperature: float
    bias: dict[str, float]
    plan: SecondCrop | None


def _fit_likelihood(
    card: Card, looks: ModelOutputs, compatible: NDArray[np.bool_], known: Prior, plan: SecondCrop | None,
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


def _compatible(card: Card, tree: Tree, scenes: Sequence[LabelledFrame], blank: NDArray[np.bool_]) -> NDArray[np.bool_]:
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
