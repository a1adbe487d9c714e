"""iNaturalist 2021 as torchvision lays it out: `2021_train/NNNNN_Kingdom_Phylum_Class_Order_Family_Genus_epithet/`."""

from pathlib import Path

from edge.frame import IMAGE_SUFFIXES
from edge.taxonomy import Taxon
from train.sample import Dataset, Sample

_SPLITS = {"2021_train": "train", "2021_train_mini": "train", "2021_valid": "val"}


def read_inaturalist(path: Path) -> Dataset:
    """All versions that lie in the folder; where both train sets do, the full one is taken."""
    versions = [name for name in _SPLITS if (path / name).is_dir()]
    if "2021_train" in versions and "2021_train_mini" in versions:
        versions.remove("2021_train_mini")  # the small one is a part of the large one
    samples: list[Sample] = []
    taxa: dict[str, Taxon] = {}
    problems: list[str] = []
    for version in versions:
        for folder in sorted(entry for entry in (path / version).iterdir() if entry.is_dir()):
            parts = folder.name.split("_")
            if len(parts) != 8:
                problems.append(
                    f"{folder.name}: expected number, kingdom, phylum, class, order, family, genus, species"
                )
                continue
            _, _, _, class_, order, family, genus, epithet = parts
            name = f"{genus} {epithet}"
            taxa[name] = Taxon(name, "species", name, class_, order, family, genus)
            samples += [
                Sample(file, name, split=_SPLITS[version], scientific_name=name)
                for file in sorted(folder.iterdir())
                if file.suffix.lower() in IMAGE_SUFFIXES
            ]
    return Dataset(path.name, tuple(samples), taxa, tuple(problems))
