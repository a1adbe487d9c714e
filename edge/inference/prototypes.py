"""Species that were enrolled by a few pictures: answered by the nearest prototype, beside the labels of the network.

The share of an enrolled species is that of its prototype among all of them, softmax(scale * cosine) (Snell et al. 2017,
"Prototypical Networks"); the network's own labels keep their proportions in what is left.
"""

import numpy as np

from edge.inference.card import Card, CardError
from edge.inference.probabilities import FloatArray, as_float32, logsumexp

_LEAST = 1e-6  # of a share, so that its logarithm stays a number


class Prototypes:
    """The prototypes of a card with enrolled species. Raises `CardError` when they do not hold together."""

    def __init__(self, card: Card) -> None:
        names = [label.name for label in card.labels]
        self.outputs = len(names) - len(card.enrolled)
        """Labels that the network has outputs for; the enrolled ones follow."""
        if tuple(names[self.outputs :]) != card.enrolled:
            raise CardError("the enrolled species are not the last labels of the card")
        known = [name for name in names[: self.outputs] if name in card.prototypes]
        if not known or any(name not in card.prototypes for name in card.enrolled) or not card.prototype_scale > 0:
            raise CardError("an enrolled species has no prototype, or the others have none to compare it with")
        self._vectors = np.array([card.prototypes[name] for name in (*known, *card.enrolled)], np.float32)
        self._enrolled = len(card.enrolled)
        self._scale, self._temperature = np.float32(card.prototype_scale), np.float32(card.calibration.temperature)
        biases = card.calibration.label_bias
        self._bias = np.array([biases.get(name, 0.0) for name in names[: self.outputs]], np.float32)

    def extend(self, logits: FloatArray, embedding: FloatArray) -> FloatArray:
        """float32[N, L] of the network -> float32[N, L + E], whose calibrated softmax gives each enrolled its share."""
        likeness = self._scale * (embedding @ self._vectors.T)
        shares = np.exp(likeness - likeness.max(axis=1, keepdims=True))
        shares = np.clip((shares / shares.sum(axis=1, keepdims=True))[:, -self._enrolled :], _LEAST, 1.0)
        left = np.maximum(1.0 - shares.sum(axis=1, keepdims=True), _LEAST)
        calibrated = (logits + self._bias) / self._temperature
        added = self._temperature * (np.log(shares / left) + logsumexp(calibrated)[:, None])
        return as_float32(np.concatenate([logits, added], axis=1))
