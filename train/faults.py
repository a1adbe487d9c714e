"""What is wrong with a dataset, listed in full before training starts."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from edge.frame import BadFrame, decode
from train.sample import DataError, Dataset, Sample

FaultKind = Literal["missing_file", "unreadable", "label_not_in_table", "one_image_class", "twice", "bad_row"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong, with the sample that it concerns."""

    kind: FaultKind
    subject: str
    detail: str
    label: str = ""
    """Of the sample, where the fault is its label's."""

    def __str__(self) -> str:
        return f"{self.kind}: {self.subject}: {self.detail}"


def find_faults(dataset: Dataset, table: Collection[str] | None = None) -> tuple[Fault, ...]:
    """All faults of the dataset; every image is decoded whole, as strictly as the device does.

    `table` is the closed list of labels, where there is one.
    """
    faults = [Fault("bad_row", dataset.name, problem) for problem in dataset.problems]
    with ThreadPoolExecutor() as pool:
        paths = list(dict.fromkeys(sample.path for sample in dataset.samples))
        faults += [fault for fault in pool.map(_read_fault, paths) if fault is not None]
    broken = {fault.subject for fault in faults}
    if table is not None:
        faults += [
            Fault("label_not_in_table", str(sample.path), f"label {sample.label!r}", sample.label)
            for sample in dataset.samples
            if sample.label not in table
        ]
    names = Counter((sample.name, sample.label) for sample in dataset.samples)
    faults += [
        Fault("twice", name, f"{count} rows with label {label!r}")
        for (name, label), count in names.items()
        if count > 1
    ]
    usable = Counter(sample.label for sample in dataset.samples if str(sample.path) not in broken)
    faults += [
        Fault("one_image_class", label, "one image cannot be both trained on and tested with", label)
        for label, count in sorted(usable.items())
        if count == 1
    ]
    return tuple(faults)


def report_faults(faults: Iterable[Fault]) -> str:
    """Every fault in a line, then the counts."""
    lines = [str(fault) for fault in faults]
    kinds = Counter(line.partition(":")[0] for line in lines)
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return "\n".join([*lines, f"{len(lines)} faults: {counts}"]) if lines else "no faults"


def without_faults(dataset: Dataset, faults: Sequence[Fault], skip: bool) -> Dataset:
    """The dataset without its faulty samples.

    Raises `DataError` when there are faults and `skip` is false.
    """
    if not faults:
        return dataset
    if not skip:
        raise DataError(f"{dataset.name} has {len(faults)} faults (listed above); mend them or pass --skip-bad")
    paths = {fault.subject for fault in faults if fault.kind in ("missing_file", "unreadable")}
    strangers = {fault.label for fault in faults if fault.kind == "label_not_in_table"}
    lonely = {fault.label for fault in faults if fault.kind == "one_image_class"}
    kept: dict[tuple[str, str], Sample] = {}
    for sample in dataset.samples:
        if str(sample.path) not in paths and sample.label not in strangers | lonely:
            kept.setdefault((sample.name, sample.label), sample)
    return replace(dataset, samples=tuple(kept.values()), problems=())


def _read_fault(path: Path) -> Fault | None:
    try:
        # A small scale: entropy decoding, which finds the damage, is done in full at any scale.
        decode(path.read_bytes(), 8, path.name)
    except FileNotFoundError:
        return Fault("missing_file", str(path), "no such file")
    except (BadFrame, OSError) as error:
        return Fault("unreadable", str(path), str(error))
    return None
