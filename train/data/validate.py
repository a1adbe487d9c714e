"""Finds all problems of a dataset (missing and damaged files, contradicting labels) before training starts."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from edge.image.decode import BadFrame, decode
from train import notice
from train.data.sample import Box, DataError, Dataset, Sample

ProblemKind = Literal[
    "missing_file", "unreadable", "label_not_in_table", "one_image_class", "two_labels", "twice", "bad_row"
]


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem of a dataset."""

    kind: ProblemKind
    subject: str
    detail: str
    label: str = ""
    """The label, where it is the problem."""

    def __str__(self) -> str:
        return f"{self.kind}: {self.subject}: {self.detail}"


def find_problems(
    dataset: Dataset, table: Collection[str] | None = None, boxes_are_cut_out: bool = False
) -> tuple[Problem, ...]:
    """All problems of the dataset; every image is decoded completely, as strictly as on the device.

    `table` is the closed list of labels, where there is one. Two labels in one frame
    contradict each other unless their bounding boxes are cut out.
    """
    problems = [Problem("bad_row", dataset.name, problem) for problem in dataset.problems]
    with ThreadPoolExecutor() as pool:
        paths = list(dict.fromkeys(sample.path for sample in dataset.samples))
        problems += [problem for problem in pool.map(_reading_problem, paths) if problem is not None]
    problems += _frames_with_two_labels(dataset.samples, boxes_are_cut_out)
    broken = {problem.subject for problem in problems}
    if table is not None:
        problems += [
            Problem("label_not_in_table", str(sample.path), f"label {sample.label!r}", sample.label)
            for sample in dataset.samples
            if sample.label not in table
        ]
    names = Counter((sample.name, sample.label) for sample in dataset.samples)
    problems += [
        Problem("twice", name, f"{count} rows with label {label!r}")
        for (name, label), count in names.items()
        if count > 1
    ]
    # Images, not rows: two boxes of one image are never on both sides of a split.
    images = {(sample.label, sample.path) for sample in dataset.samples if str(sample.path) not in broken}
    usable = Counter(label for label, _ in images)
    problems += [
        Problem("one_image_class", label, "one image cannot be both trained on and tested with", label)
        for label, count in sorted(usable.items())
        if count == 1
    ]
    return tuple(problems)


def problem_report(problems: Iterable[Problem]) -> str:
    """One line for each problem, then a line with the counts."""
    lines = [str(problem) for problem in problems]
    kinds = Counter(line.partition(":")[0] for line in lines)
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return "\n".join([*lines, f"{_count(len(lines))}: {counts}"]) if lines else "no problems"


def _count(number: int) -> str:
    return "1 problem" if number == 1 else f"{number} problems"


def without_problems(dataset: Dataset, problems: Sequence[Problem], skip: bool) -> Dataset:
    """The dataset without the samples that have problems.

    Raises `DataError` when there are problems and `skip` is false.
    """
    if not problems:
        return dataset
    if not skip:
        raise DataError(f"{dataset.name} has {_count(len(problems))} (listed above); correct them, or pass --skip-bad")
    paths = {problem.subject for problem in problems if problem.kind in ("missing_file", "unreadable", "two_labels")}
    strangers = {problem.label for problem in problems if problem.kind == "label_not_in_table"}
    lonely = {problem.label for problem in problems if problem.kind == "one_image_class"}
    kept: dict[tuple[str, str], Sample] = {}
    for sample in dataset.samples:
        if str(sample.path) not in paths and sample.label not in strangers | lonely:
            kept.setdefault((sample.name, sample.label), sample)
    return replace(dataset, samples=tuple(kept.values()), problems=())


def readable(dataset: Dataset, skip: bool) -> Dataset:
    """The dataset without rows and images that cannot be read, which are listed on standard error.

    Raises `DataError` when there are some and `skip` is false.
    """
    kinds = ("bad_row", "missing_file", "unreadable")
    problems = tuple(problem for problem in find_problems(dataset) if problem.kind in kinds)
    if problems:
        notice(problem_report(problems))
    return without_problems(dataset, problems, skip)


def _frames_with_two_labels(samples: Sequence[Sample], boxes_are_cut_out: bool) -> list[Problem]:
    crops: dict[Path, dict[str, set[Box | None]]] = {}
    for sample in samples:
        crop = sample.box if boxes_are_cut_out else None
        crops.setdefault(sample.path, {}).setdefault(sample.label, set()).add(crop)
    problems = []
    for path, of_label in crops.items():
        seen = Counter(crop for labels in of_label.values() for crop in labels)
        if len(of_label) > 1 and (None in seen or max(seen.values()) > 1):
            what = "one box" if None not in seen else "one frame"
            problems.append(Problem("two_labels", str(path), f"{' and '.join(sorted(of_label))} in {what}"))
    return problems


def _reading_problem(path: Path) -> Problem | None:
    try:
        # A small scale is enough: damage shows in the entropy decoding, which is complete at every scale.
        decode(path.read_bytes(), 8, path.name)
    except FileNotFoundError:
        return Problem("missing_file", str(path), "no such file")
    except (BadFrame, OSError) as error:
        return Problem("unreadable", str(path), str(error))
    return None
