"""Fits temperature, blank bias, weights of the attention crop and thresholds to a (quantised) model's own outputs.

All fitting uses the device's own functions. Figures on the frames that a calibration was fitted on come from
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
from edge.vocabulary import Kind
from export.validation.labelled_frames import NO_LABEL, LabelledFrame
from export.validation.model_outputs import ModelOutputs, blank_labels
from export.validation.score_decision import truth_nodes
from export.validation.thresholds import fit_thresholds

FOLDS = 5
UNREACHABLE = 1.01
"""Threshold that no probability reaches, so that the label is always decided at a higher rank."""
_WEIGHTS = (0.0, 0.5, 0.75, 1.0)
_BLANK_WEIGHTS = (0.0, 0.1, 0.25)


@dataclass(frozen=True, slots=True)
class Prior:
    """What the label table alone says, before anything is fitted."""

    bias: dict[str, float]
    """By label name: minus the logarithm of the number of classes that the label sums, so that these do not add up."""
    higher_rank_only: tuple[str, ...]
    """Labels that are decided only at a higher rank."""


@dataclass(frozen=True, slots=True)
class CalibrationData:
    """Labelled frames and a model's outputs on them: what a calibration is fitted on."""

    card: Card
    frames: Sequence[LabelledFrame]
    renderings: tuple[ModelOutputs, ...]
    """Outputs on the frames as the device decodes them; then on other renderings of the same frames, if any."""
    prior: Prior
    crop_fraction: float
    """Side of the attention crop as a fraction of the frame's shorter side."""

    @property
    def outputs(self) -> ModelOutputs:
        """Outputs on the frames as the device decodes them."""
        return self.renderings[0]

    def at(self, places: NDArray[np.intp]) -> "CalibrationData":
        """The frames at these places with their outputs."""
        frames = [self.frames[place] for place in places.tolist()]
        return replace(self, frames=frames, renderings=tuple(outputs.at(places) for outputs in self.renderings))


def prior_of_labels(card: Card, groups: tuple[tuple[int, ...], ...] | None) -> Prior:
    """The prior of a model whose labels sum `groups` of classes; an empty one where `groups` is `None`.

    A species that is the only label of its family attracts all its relatives in a model that was not trained on camera
    traps (every owl becomes the great grey owl), so it is decided as its family.
    """
    if groups is None:
        return Prior({}, ())
    bias = {
        label.name: -float(np.log(len(group)))
        for label, group in zip(card.labels, groups, strict=True)
        if label.kind in (Kind.ANIMAL, Kind.VEHICLE) and len(group) > 1
    }
    taxa = [(label.name, label.taxon) for label in card.labels if label.taxon is not None]
    families = [taxon.family for _, taxon in taxa if taxon.family]
    alone = (name for name, taxon in taxa if taxon.rank == "species" and families.count(taxon.family) == 1)
    return Prior(bias, tuple(alone))


def fit_calibration(data: CalibrationData, fitted_on: str = "") -> Calibration:
    """Fit everything on all frames: first the least negative log-likelihood, then thresholds for the wanted precision.

    Thresholds are placed where decisions seldom differ between the renderings.
    """
    card, blank = data.card, blank_labels(data.card)
    tree = Tree([label.taxon for label in card.labels], card.higher_taxa)
    compatible = _compatible(card, tree, data.frames)
    usable = np.flatnonzero(compatible.any(axis=1))
    used = data.at(usable)
    plans: list[SecondCrop | None] = [None]
    if data.outputs.crop is not None:
        pairs = [(w, b) for w in _WEIGHTS for b in (_BLANK_WEIGHTS if blank.any() else (0.0,)) if w or b]
        plans += [SecondCrop(data.crop_fraction, w, b) for w, b in pairs]
    _, best = min((_fit_likelihood(used, compatible[usable], plan) for plan in plans), key=lambda fit: fit[0])
    renderings = [outputs.under(card, best) for outputs in data.renderings]
    higher_rank_only = data.prior.higher_rank_only
    never = [place for place, label in enumerate(card.labels) if label.name in higher_rank_only]
    thresholds = fit_thresholds(tree, renderings, data.frames, blank, never)
    higher = dict.fromkeys(higher_rank_only, UNREACHABLE)
    return replace(best, thresholds=thresholds, label_thresholds=higher, fitted_on=fitted_on)


def cross_validated(data: CalibrationData) -> tuple[list[Decision], FloatArray]:
    """(decision, log-probabilities float32[N, L]) of each frame, with everything fitted on other groups' frames."""
    decisions: dict[int, Decision] = {}
    logs = np.zeros_like(data.outputs.whole)
    for test, fitted in calibrations(data):
        logs[test] = data.outputs.at(test).under(data.card, fitted)
        decider = Decider(replace(data.card, calibration=fitted))
        decisions |= {place: decider.decide(logs[place]) for place in test.tolist()}
    return [decisions[place] for place in range(len(data.frames))], logs


def calibrations(data: CalibrationData) -> Iterator[tuple[NDArray[np.intp], Calibration]]:
    """(places of some groups' frames, calibration fitted on all other groups) until every frame was among the former.

    With a single group, both are all frames.
    """
    groups = np.array([frame.group for frame in data.frames])
    folds = min(FOLDS, len(set(groups)))
    everything = np.arange(len(groups))
    parts = [(everything, everything)] if folds < 2 else GroupKFold(folds).split(groups, groups=groups)
    for train, test in parts:
        yield test, fit_calibration(data.at(train))


def _fit_likelihood(
    data: CalibrationData, compatible: NDArray[np.bool_], plan: SecondCrop | None
) -> tuple[float, Calibration]:
    """(negative log-likelihood, temperature and blank bias) for one plan of the attention crop."""
    names = [label.name for label in data.card.labels if label.kind == Kind.BLANK]
    fits_blank = bool(names) and any(frame.kind == Kind.BLANK for frame in data.frames)

    def settings(x: NDArray[np.float64]) -> Calibration:
        shift = dict.fromkeys(names, round(float(x[1]), 4)) if fits_blank else {}
        temperature = round(float(np.exp(np.clip(x[0], -3, 3))), 4)
        return Calibration(temperature, {}, label_bias={**data.prior.bias, **shift}, second_look=plan)

    def loss(x: NDArray[np.float64]) -> float:
        logs = data.outputs.under(data.card, settings(x)).astype(np.float64)
        return float(-np.logaddexp.reduce(np.where(compatible, logs, -np.inf), axis=1).mean())

    # SciPy's own first steps from zero are too short, so the simplex is given.
    simplex = np.array([[0.1, 0.0], [0.5, 0.0], [0.1, -1.0]] if fits_blank else [[0.1], [0.5]])
    options = {"xatol": 0.005, "fatol": 1e-4, "maxfev": 50, "initial_simplex": simplex}
    found = minimize(loss, simplex[0], method="Nelder-Mead", options=options)
    return float(found.fun), settings(found.x)


def _compatible(card: Card, tree: Tree, frames: Sequence[LabelledFrame]) -> NDArray[np.bool_]:
    """bool[N, L]: the labels that agree with each frame's truth: those under its deepest taxon that the model has."""
    blank = blank_labels(card)
    rows = np.zeros((len(frames), len(card.labels)), bool)
    for row, frame, node in zip(rows, frames, truth_nodes(tree, frames), strict=True):
        if frame.label != NO_LABEL and frame.kind != Kind.BLANK:
            row[frame.label] = True
        elif frame.kind == Kind.BLANK:
            row |= blank
        elif node > 0 or (node == 0 and blank.any()):  # "some animal" says something only where a blank is possible
            row[list(tree.nodes[node].labels)] = True
    return rows
