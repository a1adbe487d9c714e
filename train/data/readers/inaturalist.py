"""Reads iNaturalist as torchvision lays it out: `2021_train/NNNNN_Kingdom_Phylum_Class_Order_Family_Genus_epithet/`,
and `2017/Super category/CLASS/` to `2019/Super category/CLASS/`.
"""

from collections.abc import Iterable
from pathlib import Path

from edge.image.decode import IMAGE_SUFFIXES
from edge.inference.taxonomy import Taxon
from train import notice
from train.data.sample import DataError, Dataset, Sample

_SPLITS = {"2021_train": "train", "2021_train_mini": "train", "2021_valid": "val"}
_BEFORE_2021 = ("2017", "2018", "2019")
_SUPER_CATEGORIES = frozenset({
    "Actinopterygii", "Amphibia", "Animalia", "Arachnida", "Aves", "Bacteria", "Chromista", "Fungi", "Insecta",
    "Mammalia", "Mollusca", "Plantae", "Protozoa", "Reptilia", "Amphibians", "Birds", "Insects", "Plants", "Reptiles",
})  # fmt: skip
_NO_ANIMALS = frozenset({"Bacteria", "Chromista", "Fungi", "Plantae", "Plants", "Protozoa"})


def is_inaturalist(path: Path) -> bool:
    """Whether the folder holds a version. A year alone is no sign: people sort their own images by year."""
    if any((path / version).is_dir() for version in _SPLITS):
        return True
    found = [path / year for year in _BEFORE_2021 if (path / year).is_dir()]
    return any(names and names <= _SUPER_CATEGORIES for year in found for names in [{f.name for f in _folders(year)}])


def read_inaturalist(path: Path) -> Dataset:
    """All versions of 2021 that lie in the folder; where both train sets do, the full one is taken. Else the one of
    2017 to 2019, whose classes are species in 2017 and numbers later: those labels are `Super category NUMBER`. Classes
    that are no animals are counted on standard error.
    """
    versions = [name for name in _SPLITS if (path / name).is_dir()]
    earlier = [name for name in _BEFORE_2021 if (path / name).is_dir()]
    if len(earlier) + bool(versions) != 1:
        raise DataError(
            f"{path} holds {', '.join([*versions, *earlier]) or 'no version of iNaturalist'}; expected one year, for "
            "the classes of each are others"
        )
    if earlier:
        return _before_2021(path / earlier[0])
    if "2021_train" in versions and "2021_train_mini" in versions:
        versions.remove("2021_train_mini")  # the small one is a part of the large one
    samples: list[Sample] = []
    taxa: dict[str, Taxon] = {}
    problems: list[str] = []
    kingdoms: dict[str, str] = {}
    for version in versions:
        for folder in _folders(path / version):
            parts = folder.name.split("_")
            if len(parts) != 8:
                problems.append(
                    f"{folder.name}: expected number, kingdom, phylum, class, order, family, genus, species"
                )
                continue
            _, kingdom, _, class_, order, family, genus, epithet = parts
            name = f"{genus} {epithet}"
            kingdoms[name] = kingdom
            taxa[name] = Taxon(name, "species", name, class_, order, family, genus)
            samples += [Sample(file, name, split=_SPLITS[version], scientific_name=name) for file in _images(folder)]
    _warn_of_other_kingdoms(kingdoms.values())
    return Dataset(path.name, tuple(samples), taxa, tuple(problems))


def _before_2021(root: Path) -> Dataset:
    samples: list[Sample] = []
    taxa: dict[str, Taxon] = {}
    groups: list[str] = []
    for super_category in _folders(root):
        for folder in _folders(super_category):
            groups.append(super_category.name)
            words = folder.name.split()
            if len(words) == 2:
                taxa[folder.name] = Taxon(folder.name, "species", folder.name, genus=words[0])
            label = f"{super_category.name} {folder.name}" if folder.name.isdecimal() else folder.name
            species = folder.name if len(words) == 2 else ""
            samples += [Sample(file, label, scientific_name=species) for file in _images(folder)]
    _warn_of_other_kingdoms(groups)
    return Dataset(root.name, tuple(samples), taxa)


def _warn_of_other_kingdoms(groups: Iterable[str]) -> None:
    """Warn of classes that are no animals; `groups` holds the kingdom or super category of each class."""
    others = [group for group in groups if group in _NO_ANIMALS]
    if others:
        notice(
            f"warning: classes that are no animals: {len(others)} ({', '.join(sorted(set(others)))}); a model's tree "
            "begins at Animalia, so the device records them as animals; move their folders away to leave them out"
        )


def _folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir())


def _images(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.iterdir()) if file.suffix.lower() in IMAGE_SUFFIXES]
