"""The Python interface: load a model, classify a file, read the decision."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from edge.image.decode import decode
from edge.inference.card import Card
from edge.inference.decision import Decider, Decision
from edge.inference.detector import Detector
from edge.inference.model import STARTER, classifier
from edge.inference.predictor import Models, classify
from edge.inference.thresholds import check_thresholds


class Classifier:
    """A model ready to classify frames.

    Args:
        model: ONNX file with a card inside; the shipped starter model by default.
        species: allowed taxa (scientific names of any rank); every taxon by default.
        thresholds: least probability for a decision, by rank, kind or label name; they override the model's own.
        second_look: classify the attention crop too, where the model card plans one.
        detector: ONNX file of a detector with a card inside; the frame is then decided by its bounding boxes.

    Raises:
        edge.inference.model.ModelError: the file is no model with a card, or is damaged.
        edge.settings.strict_toml.SettingsError: a threshold names nothing that this model knows, or is not from 0 to 1.
    """

    def __init__(
        self,
        model: Path | str = STARTER,
        species: Iterable[str] | None = None,
        thresholds: Mapping[str, float] | None = None,
        second_look: bool = True,
        detector: Path | str | None = None,
    ) -> None:
        chosen = dict(thresholds or {})
        answering = classifier(model)
        check_thresholds(chosen, answering.card.labels)
        finder = None if detector is None else Detector(detector, least_score=chosen.get("detection"))
        self._models = Models(answering, Decider(answering.card, species, thresholds), finder)
        self._least_blank = chosen.get("blank", 0.0)
        self._second_look = second_look

    @property
    def card(self) -> Card:
        """What the model says about itself."""
        return self._models.card

    def classify(self, source: Path | str | bytes) -> Decision:
        """Classify one whole image: a path, or the bytes of a file.

        Raises:
            edge.image.decode.BadFrame: an incomplete frame, a damaged one, or no image; its `reason` says which.
            OSError: the file cannot be read.
        """
        name = "" if isinstance(source, bytes) else str(source)
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        frame = decode(data, self._models.decode_side_px, name)
        return classify(self._models, frame, self._second_look, self._least_blank).decision
