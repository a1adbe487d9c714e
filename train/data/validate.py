"""What is wrong with a dataset, listed in full before training starts."""

import sys
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from edge.image.decode import BadFrame, decode
from train.data.sample import Box, DataError, Dataset, Sample

FaultKind = Literal[
    "missing_file", "unreadable", "label_not_in_table", "one_image_class", "two_labels", "twice", "bad_row"
]


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


def find_faults(
    dataset: Dataset, table: Collection[str] | None = None, boxes_are_cut_out: bool = False
) -> tuple[Fault, ...]:
    """All faults of the dataset; every image is decoded whole, as strictly as the device does.

    `table` is the closed list of labels, where there is one. Boxes of two labels in one frame are two pictures only
    where they are cut out.
    """
    faults = [Fault("bad_row", dataset.name, problem) for problem in dataset.problems]
    with ThreadPoolExecutor() as pool:
        paths = list(dict.fromkeys(sample.path for sample in dataset.samples))
        faults += [fault for fault in pool.map(_read_fault, paths) if fault is not None]
    faults += _frames_of_two_labels(dataset.samples, boxes_are_cut_out)
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
    # Images, not rows: two boxes of one image are never on both sides of a split.
    images = {(sample.label, sample.path) for sample in dataset.samples if str(sample.path) not in broken}
    usable = Counter(label for label, _ in images)
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
    return "\n".join([*lines, f"{_count(len(lines))}: {counts}"]) if lines else "no faults"


def _count(number: int) -> str:
    return "1 fault" if number == 1 else f"{number} faults"


def without_faults(dataset: Dataset, faults: Sequence[Fault], skip: bool) -> Dataset:
    """The dataset without its faulty samples.

    Raises `DataError` when there are faults and `skip` is false.
    """
    if not faults:
        return dataset
    if not skip:
        raise DataError(f"{dataset.name} has {_count(len(faults))} (listed above); mend them or pass --skip-bad")
    paths = {fault.subject for fault in faults if fault.kind in ("missing_file", "unreadable", "two_labels")}
    strangers = {fault.label for fault in faults if fault.kind == "label_not_in_table"}
    lonely = {fault.label for fault in faults if fault.kind == "one_image_class"}
    kept: dict[tuple[str, str], Sample] = {}
    for sample in dataset.samples:
        if str(sample.path) not in paths and sample.label not in strangers | lonely:
            kept.setdefault((sample.name, sample.label), sample)
    return replace(dataset, samples=tuple(kept.values()), problems=())


def readable(dataset: Dataset, skip: bool) -> Dataset:
    """The dataset, if all its rows and images can be read: a model that answers it needs no more. What cannot is listed
    on standard error. Raises `DataError` when that is not to be skipped.
    """
    kinds = ("bad_row", "missing_file", "unreadable")
    faults = tuple(fault for fault in find_faults(dataset) if fault.kind in kinds)
    if faults:
        print(report_faults(faults), file=sys.stderr, flush=True)
    return without_faults(dataset, faults, skip)


def _frames_of_two_labels(samples: Sequence[Sample], boxes_are_cut_out: bool) -> list[Fault]:
    views: dict[Path, dict[str, set[Box | None]]] = {}
    for sample in samples:
        view = sample.box if boxes_are_cut_out else None
        views.setdefault(sample.path, {}).setdefault(sample.label, set()).add(view)
    faults = []
    for path, of_label in views.items():
        seen = Counter(view for labels in of_label.values() for view in labels)
        if len(of_label) > 1 and (None in seen or max(seen.values()) > 1):
            what = "one box" if None not in seen else "one frame"
            faults.append(Fault("two_labels", str(path), f"{' and '.join(sorted(of_label))} in {what}"))
    return faults


def _read_fault(path: Path) -> Fault | None:
    try:
        # A small scale: entropy decoding, which finds the damage, is done in full at any scale.
        decode(path.read_bytes(), 8, path.name)
    except FileNotFoundError:
        return Fault("missing_file", str(path), "no such file")
    except (BadFrame, OSError) as error:
        return Fault("unreadable", str(path), str(error))
    return None
