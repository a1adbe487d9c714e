"""`edge-model`: print a model's card as a page for people, and check that the file is undamaged."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from edge import __version__
from edge.commands.runner import ExitCode, Parser, run
from edge.host.one_line import one_line
from edge.inference.card import Card, Count, Figure, Gate
from edge.inference.model import STARTER, ModelError
from edge.inference.taxonomy import RANKS
from edge.service.model_trial import load_tried_model
from edge.vocabulary import Kind

_Form = TypeVar("_Form")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = Parser(
        "edge-model",
        description="Look after a model.",
        epilog="exit codes: 0 done; 1 the check found a problem; 2 wrong use; 130 interrupted",
    )
    parser.add_argument("--version", action="version", version=f"edge-model {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, command, help_ in (
        ("info", _info, "print what the model says about itself"),
        ("verify", _verify, "check the file against its card and its .sha256"),
    ):
        own = commands.add_parser(name, help=help_, description=help_)
        own.add_argument(
            "file",
            type=Path,
            nargs="?",
            default=STARTER,
            metavar="FILE",
            help="the model (default: the shipped starter model)",
        )
        own.set_defaults(run=command)
        if name == "info":
            own.add_argument("--all", action="store_true", help="print every threshold, figure and label, too")
    given = parser.parse_args(arguments)
    return run("edge-model", lambda: given.run(given), ModelError)


def _info(given: argparse.Namespace) -> int:
    model = load_tried_model("edge-model", given.file, run=False)
    lines = full_page if given.all else page
    print(*lines(model.card, model.sha256, model.size_bytes), sep="\n")
    return ExitCode.DONE


def _verify(given: argparse.Namespace) -> int:
    try:
        model = load_tried_model("edge-model", given.file)
    except ModelError as error:
        print(f"edge-model: {one_line(error, 1000)}", file=sys.stderr)
        return ExitCode.PROBLEM
    beside = given.file.with_name(given.file.name + ".sha256")
    compared = f"agrees with {beside.name}" if model.has_checksum else f"no {beside.name} beside it to compare with"
    print(f"{given.file}: card version {model.card.card_version}, {len(model.card.labels)} labels, {compared}")
    return ExitCode.DONE


def page(card: Card, sha256: str, size_bytes: int) -> Iterator[str]:
    """What the model knows, how that was proven, what quantisation costs, and its limits, as lines of text."""
    yield from _heading(f"{card.name} {card.version}", "=")
    yield f"{card.licence or 'no licence stated'}, made {card.created[:10]}, {size_bytes / 1e6:.1f} MB"
    yield f"sha256 {sha256}"
    for title, lines in (
        ("What it knows", _knowledge(card)),
        ("How that was proven", _proof(card)),
        ("What int8 costs", _cost(card)),
        ("Limits", _limits(card)),
        ("Where it comes from", _sources(card)),
    ):
        yield from ("", *_heading(title), *lines)
    yield from ("", "`edge-model info --all` prints every threshold, figure and label.")


def _heading(title: str, underline: str = "-") -> tuple[str, str]:
    return title, underline * len(title)


def _knowledge(card: Card) -> Iterator[str]:
    animals = [label.taxon for label in card.labels if label.taxon is not None]
    kinds = {label.kind for label in card.labels}
    if card.task == "detect":
        yield "Finds with bounding boxes: " + ", ".join(label.common_name for label in card.labels)
        return
    yield f"{len(animals)} animals, by class:"
    names = {taxon.scientific_name: taxon.common_name for taxon in card.higher_taxa}
    for name, count in Counter(taxon.class_ or "without a class" for taxon in animals).most_common():
        yield f"  {count:>4}  {f'{names[name]} ({name})' if names.get(name) else name}"
    others = ((Kind.BLANK, "blank frames"), (Kind.HUMAN, "people"), (Kind.VEHICLE, "vehicles"))
    yield "also: " + (", ".join(words for kind, words in others if kind in kinds) or "nothing that is no animal")
    if never := [name for name, value in card.calibration.label_thresholds.items() if value > 1]:
        yield f"{len(never)} of its labels are never decided on alone; they count for the taxa above them"
    if card.enrolled:
        yield f"enrolled later: {', '.join(card.enrolled)}"


class _Accuracy(Struct):
    """A figure of a training's evaluation, with its 95% interval."""

    value: Figure
    low: Figure
    high: Figure


class _Evaluation(Struct):
    """What a training's evaluation found."""

    images: Count
    sequences: Count
    accuracy: _Accuracy
    macro_f1: _Accuracy


class _Right(Struct):
    """How many of the decisions of one kind were right, with the 95% interval."""

    precision: Figure
    low: Figure
    high: Figure
    right: Count
    wrong: Count

    def __str__(self) -> str:
        interval = f"95% interval {self.low:.0%} to {self.high:.0%}"
        return f"{self.precision:>4.0%} right, {self.right} of {self.right + self.wrong} ({interval})"


class _Decisions(Struct):
    """What was found on frames that were decided as the device decides."""

    share_answered: Figure
    frames: Count
    by_light: dict[str, Any] = {}
    blank_auroc: Figure | None = None


def _proof(card: Card) -> Iterator[str]:
    if not card.metrics:
        yield "Nothing was measured."
    for data, figures in card.metrics.items():
        if not isinstance(figures, dict):
            continue
        if (decisions := _of_form(_Decisions, figures)) is not None:
            yield f"{data}:"
            yield from _decisions_proof(decisions, figures)
        elif (overall := _of_form(_Evaluation, figures.get("figures"))) is not None:
            yield f"{data.replace('_', ' ')}: {overall.images} images, {overall.sequences} sequences"
            for name, value in (("accuracy", overall.accuracy), ("macro f1", overall.macro_f1)):
                interval = f"95% interval {value.low:.0%} to {value.high:.0%}"
                yield f"  {name:<9} {value.value:.0%} ({interval})"


def _decisions_proof(decisions: _Decisions, figures: Mapping[str, Any]) -> Iterator[str]:
    yield f"  a decision on {decisions.share_answered:.0%} of {decisions.frames} frames, the others stay unknown"
    counted = {f"rank {rank}": figures.get(f"answers_{rank}") for rank in reversed(RANKS)}
    counted |= {f"{kind}": figures.get(f"answers_{kind}") for kind in (Kind.BLANK, Kind.HUMAN, Kind.VEHICLE)}
    for words, part in (counted | decisions.by_light).items():
        if (right := _of_form(_Right, part)) is not None:
            yield f"  {words:<13} {right}"
    if decisions.blank_auroc is not None:
        yield f"  blank frames told from others: area under the ROC curve {decisions.blank_auroc:.2f}"


def _of_form(kind: type[_Form], value: object) -> _Form | None:
    """Figures of this form; `None` for others, because a card may hold any that its makers measured."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return None


def _cost(card: Card) -> Iterator[str]:
    gate = card.gate
    if gate is None:
        yield "Not measured: the model is not quantised, or was not compared."
        return
    yield f"The quantised model was compared with the original on {gate.images} images ({gate.data}):"
    if (same := gate.figures.get("decision_agreement")) is not None:
        yield f"  the same decision on {same:.1%} of them"
    if gate.figures.keys() >= {"accuracy_float", "accuracy_int8"}:
        labelled = f" of {gate.figures['labelled_images']:.0f} labelled" if "labelled_images" in gate.figures else ""
        before, after = gate.figures["accuracy_float"], gate.figures["accuracy_int8"]
        yield f"  right{labelled}: {before:.1%} before, {after:.1%} after"
    verdicts = Counter(proof.verdict for proof in gate.labels)
    if verdicts:
        yield (
            f"  of its labels {verdicts['passed']} passed, {verdicts['failed']} failed and {verdicts['unproven']} had"
            " too few images for a proof"
        )


def _limits(card: Card) -> Iterator[str]:
    yield from (f"- {note}" for note in card.notes)
    kinds = {label.kind for label in card.labels}
    if missing := [words for kind, words in ((Kind.HUMAN, "people"), (Kind.VEHICLE, "vehicles")) if kind not in kinds]:
        yield f"- It does not know {' or '.join(missing)}."
    if card.task == "classify" and card.calibration.rejection is None:
        yield "- It has no test for frames unlike its training data; only thresholds make such a frame unknown."


def _sources(card: Card) -> Iterator[str]:
    for source in card.sources:
        attribution = f" ({source.attribution})" if source.attribution else ""
        yield f"- {source.role}: {source.name}, {source.licence}{attribution}"


def full_page(card: Card, sha256: str, size_bytes: int) -> Iterator[str]:
    """Everything that the card says, as lines of text."""
    yield from _heading(f"{card.name} {card.version}", "=")
    yield f"created       {card.created}"
    yield f"licence       {card.licence or 'not stated'}"
    yield f"sha256        {sha256}"
    yield f"size          {size_bytes / 1e6:.1f} MB"
    yield f"input         {card.input_width_px} x {card.input_height_px} px, {card.fit}"
    yield from _decision(card)
    if card.notes:
        yield from ("", *_heading("Limits"), *(f"- {note}" for note in card.notes))
    if card.metrics:
        yield from ("", *_heading("Measured"))
        yield from _figures(card.metrics)
    if card.gate is not None:
        yield from _gate(card.gate)
    yield from ("", *_heading("Sources"), *_sources(card))
    yield from _labels(card)
    yield from ("", *_heading("Toolchain"), ", ".join(f"{name} {v}" for name, v in sorted(card.toolchain.items())))


def _decision(card: Card) -> Iterator[str]:
    calibration = card.calibration
    yield from ("", *_heading("Decision"))
    yield f"temperature   {calibration.temperature:.3g}"
    yield "thresholds    " + ", ".join(f"{name} {value:.2f}" for name, value in calibration.thresholds.items())
    if calibration.label_thresholds:
        # Above 1 no probability reaches it: such a label always rolls up.
        never = [name for name, value in calibration.label_thresholds.items() if value > 1]
        own = [f"{name} {value:.2f}" for name, value in calibration.label_thresholds.items() if value <= 1]
        if own:
            yield "by label      " + ", ".join(own)
        if never:
            yield f"never alone   {', '.join(never)}"
    crop = calibration.second_look
    if crop is None:
        yield "second crop   none"
    else:
        yield (
            f"second crop   a square of {crop.region_fraction:.0%} of the shorter side, "
            f"weight {crop.weight:.2f} in what it is, {crop.blank_weight:.2f} in whether there is anything"
        )
    if calibration.rejection is not None:
        yield f"rejection     {calibration.rejection.score} below {calibration.rejection.threshold:.3g}"
    yield f"fitted on     {calibration.fitted_on or 'not stated'}"


def _gate(gate: Gate) -> Iterator[str]:
    yield from ("", *_heading("What int8 costs"), f"{gate.images} images: {gate.data}")
    yield from _figures(gate.figures)
    yield "limits        " + ", ".join(f"{name} {value:g}" for name, value in gate.limits.items())
    yield f"left in float {', '.join(gate.float_nodes) or 'nothing'}"
    if gate.finetune_steps:
        yield f"fine-tuned    {gate.finetune_steps} steps"
    if gate.labels:
        yield f"{'label':<28} {'images':>6} {'float':>6} {'int8':>6}  95% interval   verdict"
    for proof in gate.labels:
        yield (
            f"{proof.label:<28} {proof.images:>6} {proof.recall_float:>6.3f} {proof.recall_int8:>6.3f}"
            f"  {proof.interval_low:.3f}-{proof.interval_high:.3f}    {proof.verdict}"
        )


def _figures(figures: Mapping[str, object], indent: str = "") -> Iterator[str]:
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield f"{indent}{name}"
            yield from _figures(value, indent + "  ")
        else:
            yield f"{indent}{name:<13} {value:.4g}" if isinstance(value, float) else f"{indent}{name:<13} {value}"


def _labels(card: Card) -> Iterator[str]:
    kinds = Counter(label.kind for label in card.labels)
    title = f"Labels ({', '.join(f'{count} {kind}' for kind, count in kinds.items())})"
    yield from ("", *_heading(title))
    for label in card.labels:
        taxon = label.kind if label.taxon is None else f"{label.taxon.scientific_name} ({label.taxon.rank})"
        enrolled = ", enrolled" if label.name in card.enrolled else ""
        yield f"{label.name:<28} {label.common_name:<32} {taxon}{enrolled}"


if __name__ == "__main__":
    sys.exit(main())
