import numpy as np
import pytest

from edge.inference.attention_crop import combine
from edge.inference.card import Calibration, Card, Label, Rejection, SecondCrop
from edge.inference.decision import Decider, Decision
from edge.inference.probabilities import log_softmax
from edge.inference.taxonomy import Taxon
from edge.vocabulary import Kind


def taxon(species: str, family: str, order: str, class_: str = "Mammalia") -> Taxon:
    return Taxon(species, "species", species.lower(), class_, order, family, species.split()[0], species)


ZEBRA = Taxon("Equus", "genus", "zebra", "Mammalia", "Perissodactyla", "Equidae", "Equus")
LABELS = (
    Label("lion", Kind.ANIMAL, "lion", taxon("Panthera leo", "Felidae", "Carnivora")),
    Label("lynx", Kind.ANIMAL, "lynx", taxon("Lynx lynx", "Felidae", "Carnivora")),
    Label("deer", Kind.ANIMAL, "red deer", taxon("Cervus elaphus", "Cervidae", "Artiodactyla")),
    Label("zebra", Kind.ANIMAL, "zebra", ZEBRA),
    Label("horse", Kind.ANIMAL, "horse", taxon("Equus caballus", "Equidae", "Perissodactyla")),
    Label("blank", Kind.BLANK, "blank"),
    Label("vehicle", Kind.VEHICLE, "vehicle"),
)
THRESHOLDS = {"kingdom": 0.5, "class": 0.6, "order": 0.65, "family": 0.7, "genus": 0.7, "species": 0.8, "blank": 0.6}
HIGHER = (Taxon("Felidae", "family", "cat family"), Taxon("Equus", "genus", "horse, ass or zebra"))


def card(**calibration: object) -> Card:
    calibrated = Calibration(1.0, THRESHOLDS, **calibration)  # type: ignore[arg-type]
    return Card("test", "1", "2026-01-01T00:00:00Z", LABELS, 32, 32, higher_taxa=HIGHER, calibration=calibrated)


def decide(decider: Decider, familiarity: float | None = None, **probabilities: float) -> Decision:
    p = np.array([probabilities.get(label.name, 0.0) for label in LABELS])
    rest = 1.0 - p.sum()
    p += rest * (p == 0) / max((p == 0).sum(), 1)
    with np.errstate(divide="ignore"):
        return decider.decide(np.log(p).astype(np.float32), familiarity)


def said(decision: Decision) -> tuple[str, str | None, str]:
    return decision.kind, decision.taxon, decision.reason


def test_the_decision_is_the_most_specific_taxon_that_reaches_its_threshold() -> None:
    decider = Decider(card())
    assert said(decide(decider, lion=0.85)) == ("animal", "Panthera leo", "confident")
    rolled = decide(decider, lion=0.5, lynx=0.4)
    assert said(rolled) == ("animal", "Felidae", "rolled_up")
    assert rolled.common_name == "cat family"
    assert rolled.confidence == pytest.approx(0.9, abs=1e-5)
    assert said(decide(decider, lion=0.4, deer=0.4)) == ("animal", "Mammalia", "rolled_up")


def test_a_frame_that_reaches_no_threshold_is_unknown() -> None:
    decision = decide(Decider(card()), lion=0.15, deer=0.15, blank=0.5, vehicle=0.2)
    assert said(decision) == ("unknown", None, "below_threshold")
    assert decision.candidates[0].name == "blank"


def test_blank_and_vehicle_are_kinds_without_taxon() -> None:
    assert said(decide(Decider(card()), blank=0.7)) == ("blank", None, "blank")
    assert said(decide(Decider(card()), vehicle=0.9)) == ("vehicle", None, "confident")


def test_an_unfamiliar_frame_is_out_of_distribution_whatever_its_probabilities() -> None:
    decider = Decider(card(rejection=Rejection("energy", 2.0)))
    assert said(decide(decider, 1.0, lion=0.99)) == ("unknown", None, "out_of_distribution")
    assert said(decide(decider, 3.0, lion=0.99)) == ("animal", "Panthera leo", "confident")


def test_a_label_of_higher_rank_is_decided_under_its_own_name_when_it_suffices_alone() -> None:
    zebra = decide(Decider(card()), zebra=0.9)
    assert (zebra.taxon, zebra.common_name, zebra.reason) == ("Equus", "zebra", "confident")
    some_equid = decide(Decider(card()), zebra=0.5, horse=0.4)
    assert (some_equid.taxon, some_equid.common_name, some_equid.reason) == (
        "Equus",
        "horse, ass or zebra",
        "rolled_up",
    )


def test_a_label_with_its_own_threshold_obeys_it_and_rolls_up_otherwise() -> None:
    decider = Decider(card(label_thresholds={"lion": 1.01}))
    assert said(decide(decider, lion=0.98)) == ("animal", "Panthera", "rolled_up")
    overridden = Decider(card(label_thresholds={"lion": 1.01}), thresholds={"lion": 0.5})
    assert said(decide(overridden, lion=0.6)) == ("animal", "Panthera leo", "confident")


def test_a_species_list_removes_species_before_summing_and_keeps_their_evidence_in_the_family() -> None:
    decider = Decider(card(), allowed=["Lynx lynx", "Cervus elaphus"])
    # Evidence for a lion is evidence for a cat: the only cat of the list takes the family, not the species.
    assert said(decide(decider, lion=0.9)) == ("animal", "Felidae", "rolled_up")
    # It never counts for a deer: no horse is on the list, so evidence for one is evidence for a mammal.
    assert said(decide(decider, horse=0.9)) == ("animal", "Mammalia", "rolled_up")
    assert all(candidate.name != "Panthera leo" for candidate in decide(decider, lion=0.9).candidates)


def test_a_species_list_may_name_higher_taxa_and_species_of_a_genus_that_the_model_knows() -> None:
    assert said(decide(Decider(card(), allowed=["Felidae"]), lion=0.9)) == ("animal", "Panthera leo", "confident")
    plains_zebra = Decider(card(), allowed=["Equus quagga", "Tapirus bairdii"])
    assert said(decide(plains_zebra, zebra=0.9)) == ("animal", "Equus", "confident")
    assert plains_zebra.unmatched == ("Tapirus bairdii",)


def test_a_decision_never_leaves_the_species_list() -> None:
    decider = Decider(card(), allowed=["Cervus elaphus"])
    random = np.random.default_rng(1)
    allowed = {"Cervus elaphus", "Cervus", "Cervidae", "Artiodactyla", "Mammalia", "Animalia", None}
    for _ in range(500):
        p = random.dirichlet(np.full(len(LABELS), 0.2))
        assert decider.decide(np.log(p + 1e-12).astype(np.float32)).taxon in allowed


@pytest.mark.parametrize("allowed", [None, ["Felidae"]])
def test_a_settled_frame_is_decided_alike_after_any_crop(allowed: list[str] | None) -> None:
    plan = SecondCrop(region_fraction=0.5, weight=1.0, blank_weight=0.0)
    decider = Decider(card(second_look=plan, rejection=Rejection("energy", 1.0)), allowed)
    blank = np.array([label.kind == "blank" for label in LABELS])
    chance = np.random.default_rng(3)
    settled = 0
    for _ in range(2000):
        first, second = log_softmax(chance.normal(0.0, 2.5, (2, len(LABELS))).astype(np.float32))
        familiarity = float(chance.uniform(0.9, 2.0))
        if decider.is_settled(first, familiarity):
            settled += 1
            once = decider.decide(first, familiarity)
            twice = decider.decide(combine(first, second, plan, blank), familiarity)
            assert said(once) == said(twice)
    assert 200 < settled < 1500


def test_nothing_is_settled_where_the_crop_counts_for_blank() -> None:
    plan = SecondCrop(region_fraction=0.5, weight=0.5, blank_weight=0.1)
    assert not Decider(card(second_look=plan)).is_settled(log_softmax(np.eye(7, dtype=np.float32), 0.01)[5], None)
