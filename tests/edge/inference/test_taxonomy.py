from edge.inference.taxonomy import Taxon, Tree

COYOTE = Taxon("Canis latrans", "species", "coyote", "Mammalia", "Carnivora", "Canidae", "Canis", "Canis latrans")
FOX = Taxon("Vulpes vulpes", "species", "red fox", "Mammalia", "Carnivora", "Canidae", "Vulpes", "Vulpes vulpes")
CANIS = Taxon("Canis", "genus", "wolf or jackal", "Mammalia", "Carnivora", "Canidae", "Canis")
FLATWORM = Taxon("Platyhelminthes", "phylum", "flatworm")


def names(tree: Tree, place: int) -> list[str]:
    return [tree.nodes[n].taxon.scientific_name for n in tree.lineage(tree.label_node(place))]


def test_every_label_hangs_from_the_kingdom_by_its_own_lineage() -> None:
    tree = Tree([COYOTE, None, FOX, CANIS, FLATWORM])
    assert names(tree, 0) == ["Canis latrans", "Canis", "Canidae", "Carnivora", "Mammalia", "Animalia"]
    assert names(tree, 3) == ["Canis", "Canidae", "Carnivora", "Mammalia", "Animalia"]
    assert names(tree, 4) == ["Platyhelminthes", "Animalia"]


def test_a_taxon_counts_the_labels_at_and_below_it() -> None:
    tree = Tree([COYOTE, None, FOX, CANIS])
    labels = {node.taxon.scientific_name: set(node.labels) for node in tree.nodes}
    assert labels["Canidae"] == {0, 2, 3}
    assert labels["Canis"] == {0, 3}
    assert labels["Canis latrans"] == {0}


def test_parents_come_before_children_and_higher_taxa_have_common_names() -> None:
    tree = Tree([FOX, COYOTE], names=[Taxon("Canidae", "family", "dog family")])
    assert all(node.parent is None or node.parent < n for n, node in enumerate(tree.nodes))
    by_name = {node.taxon.scientific_name: node.taxon.common_name for node in tree.nodes}
    assert by_name["Canidae"] == "dog family"
    assert by_name["Vulpes"] == "Vulpes"
    assert by_name["Vulpes vulpes"] == "red fox"
