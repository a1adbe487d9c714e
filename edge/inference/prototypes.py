"""Recognises species that were enrolled by a few images, by the nearest prototype, beside the network's labels.

The probability of an enrolled species is the softmax over all prototypes of scale * cosine (Snell et al. 2017,
"Prototypical Networks"); the network's own labels share the rest in their own proportions.
"""

import numpy as np

from edge.inference.card import Card, CardError
from edge.inference.probabilities import FloatArray, as_float32, logsumexp

_LEAST = 1e-6  # least probability, so that its logarithm stays finite


class Prototypes:
    """The prototypes of a card with enrolled species. Raises `CardError` when they are inconsistent."""

    def __init__(self, card: Card) -> None:
        names = [label.name for label in card.labels]
        self.outputs = len(names) - len(card.enrolled)
        """Number of labels that the network has outputs for; the enrolled ones follow them."""
        if tuple(names[self.outputs :]) != card.enrolled:
            raise CardError("the enrolled species are not the last labels of the card; export the model again")
        known = [name for name in names[: self.outputs] if name in card.prototypes]
        if not known or any(name not in card.prototypes for name in card.enrolled) or not card.prototype_scale > 0:
            raise CardError("an enrolled species has no prototype, or the others have none to compare it with")
        self._vectors = np.array([card.prototypes[name] for name in (*known, *card.enrolled)], np.float32)
        self._enrolled = len(card.enrolled)
        self._scale, self._temperature = np.float32(card.prototype_scale), np.float32(card.calibration.temperature)
        biases = card.calibration.label_bias
        self._bias = np.array([biases.get(name, 0.0) for name in names[: self.outputs]], np.float32)

    def extend(self, logits: FloatArray, embedding: FloatArray) -> FloatArray:
        """Logits float32[N, L] with those of E enrolled species appended: float32[N, L + E].

        The calibrated softmax of the result gives each enrolled species the probability of its prototype.
        """
        similarity = self._scale * (embedding @ self._vectors.T)
        shares = np.exp(similarity - similarity.max(axis=1, keepdims=True))
        shares = np.clip((shares / shares.sum(axis=1, keepdims=True))[:, -self._enrolled :], _LEAST, 1.0)
        left = np.maximum(1.0 - shares.sum(axis=1, keepdims=True), _LEAST)
        calibrated = (logits + self._bias) / self._temperature
        added = self._temperature * (np.log(shares / left) + logsumexp(calibrated)[:, None])
        return as_float32(np.concatenate([logits, added], axis=1))
