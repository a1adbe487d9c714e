"""The starter model's table of taxa is complete and contradicts itself nowhere."""

import csv
from pathlib import Path

import pytest

TABLES = Path(__file__).resolve().parents[2] / "train" / "starter"
LINEAGE = ("class", "order", "family", "genus", "species")
ANIMAL_CLASSES = set(range(398))  # ImageNet-1k keeps its animals in the first 398 of 1,000 classes
EXTINCT = {51, 69}  # triceratops and trilobite: statues and fossils, so evidence for a blank frame
DOG_BREEDS = set(range(151, 269))

Row = dict[str, str]


def read(name: str) -> list[Row]:
    with (TABLES / name).open(newline="", encoding="utf-8") as table:
        return list(csv.DictReader(table))


def indices(row: Row) -> list[int]:
    return [int(index) for index in row["imagenet"].split()]


def lineage(row: Row) -> list[tuple[str, str]]:
    """The filled (rank, name) pairs, from class down."""
    return [(rank, row[rank]) for rank in LINEAGE if row[rank]]


@pytest.fixture(scope="module")
def labels() -> list[Row]:
    return read("taxa.csv")


@pytest.fixture(scope="module")
def animals(labels: list[Row]) -> list[Row]:
    return [row for row in labels if row["kind"] == "animal"]


@pytest.fixture(scope="module")
def higher_taxa() -> list[Row]:
    return read("higher_taxa.csv")


def test_labels_and_their_names_are_unique(labels: list[Row]) -> None:
    for column in ("label", "common_name"):
        values = [row[column] for row in labels]
        assert len(values) == len(set(values)), column
    assert all(row["label"].isidentifier() and row["label"].islower() for row in labels)


def test_each_living_animal_class_is_used_exactly_once(animals: list[Row]) -> None:
    used = [index for row in animals for index in indices(row)]
    assert sorted(used) == sorted(ANIMAL_CLASSES - EXTINCT)


def test_vehicle_is_one_label_without_a_taxon_and_without_animals(labels: list[Row]) -> None:
    (vehicle,) = (row for row in labels if row["kind"] != "animal")
    assert (vehicle["label"], vehicle["kind"]) == ("vehicle", "vehicle")
    assert not any(vehicle[column] for column in ("scientificName", "rank", *LINEAGE))
    used = indices(vehicle)
    assert used == sorted(set(used))
    assert used[0] > max(ANIMAL_CLASSES)
    assert used[-1] < 1000


def test_lineage_is_filled_down_to_the_rank_of_the_label_and_no_further(animals: list[Row]) -> None:
    for row in animals:
        filled = [rank for rank in LINEAGE if row[rank]]
        if row["rank"] == "phylum":
            assert not filled, row["label"]
            continue
        assert filled == list(LINEAGE[: LINEAGE.index(row["rank"]) + 1]), row["label"]
        assert row[row["rank"]] == row["scientificName"], row["label"]


def test_a_species_begins_with_its_genus(animals: list[Row]) -> None:
    for row in animals:
        if row["species"]:
            genus, epithet = row["species"].split()
            assert genus == row["genus"]
            assert epithet.isalpha(), row["label"]
            assert epithet.islower(), row["label"]


def test_names_end_as_the_codes_of_nomenclature_ask(animals: list[Row]) -> None:
    for row in animals:
        assert not row["family"] or row["family"].endswith("idae"), row["label"]
        for rank in ("class", "order", "family", "genus"):
            assert not row[rank] or (row[rank].isalpha() and row[rank].istitle()), row["label"]


def test_each_taxon_has_one_rank_and_one_parent(animals: list[Row]) -> None:
    place: dict[str, tuple[str, str]] = {}
    for row in animals:
        parent = "Animalia"
        for rank, name in lineage(row) or [("phylum", row["scientificName"])]:
            assert place.setdefault(name, (rank, parent)) == (rank, parent), row["label"]
            parent = name


def test_each_species_is_one_label(animals: list[Row]) -> None:
    species = [row["species"] for row in animals if row["species"]]
    assert len(species) == len(set(species))


def test_all_dog_breeds_are_one_label(animals: list[Row]) -> None:
    breeds = [row for row in animals if DOG_BREEDS & set(indices(row))]
    assert [row["scientificName"] for row in breeds] == ["Canis familiaris"]


def test_higher_taxa_name_every_taxon_above_species_once(animals: list[Row], higher_taxa: list[Row]) -> None:
    needed = {("kingdom", "Animalia")}
    for row in animals:
        taxa = lineage(row) or [("phylum", row["scientificName"])]
        needed |= {(rank, name) for rank, name in taxa if rank != "species"}
    named = [(row["rank"], row["scientificName"]) for row in higher_taxa]
    assert len(named) == len(set(named))
    assert set(named) == needed
    assert all(row["common_name"].strip() for row in higher_taxa)
