"""edge-model: a model's card as a page for people, and the check that the file is what it was."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from edge import __version__
from edge.commands.runner import ExitCode, run
from edge.inference.card import Card, Gate
from edge.inference.model import STARTER, Model, ModelError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(
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
    given = parser.parse_args(arguments)
    return run("edge-model", lambda: given.run(given), ModelError)


def _info(given: argparse.Namespace) -> int:
    model = Model(given.file)
    print("\n".join(page(model.card, model.sha256, given.file.stat().st_size)))
    return ExitCode.DONE


def _verify(given: argparse.Namespace) -> int:
    try:
        model = Model(given.file)
    except ModelError as error:
        print(f"edge-model: {error}", file=sys.stderr)
        return ExitCode.PROBLEM
    beside = given.file.with_name(given.file.name + ".sha256")
    compared = f"agrees with {beside.name}" if beside.exists() else f"no {beside.name} beside it to compare with"
    print(f"{given.file}: card version {model.card.card_version}, {len(model.card.labels)} labels, {compared}")
    return ExitCode.DONE


def page(card: Card, sha256: str, size_bytes: int) -> Iterator[str]:
    """The card as lines of text."""
    yield f"{card.name} {card.version}"
    yield "=" * len(f"{card.name} {card.version}")
    yield f"created       {card.created}"
    yield f"licence       {card.licence or 'not stated'}"
    yield f"sha256        {sha256}"
    yield f"size          {size_bytes / 1e6:.1f} MB"
    yield f"input         {card.input_width_px} x {card.input_height_px} px, {card.fit}"
    yield from _decision(card)
    if card.notes:
        yield from ("", "Known weaknesses", "----------------", *(f"- {note}" for note in card.notes))
    if card.metrics:
        yield from ("", "Measured", "--------")
        yield from _figures(card.metrics)
    if card.gate is not None:
        yield from _gate(card.gate)
    yield from ("", "Sources", "-------")
    for source in card.sources:
        yield f"- {source.role}: {source.name}, {source.licence}" + (
            f" ({source.attribution})" if source.attribution else ""
        )
    yield from _labels(card)
    yield from ("", "Toolchain", "---------", ", ".join(f"{name} {v}" for name, v in sorted(card.toolchain.items())))


def _decision(card: Card) -> Iterator[str]:
    calibration = card.calibration
    yield from ("", "Decision", "--------")
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
    look = calibration.second_look
    yield "second look   " + (
        "none" if look is None else f"a square of {look.region_fraction:.0%} of the shorter side, weight "
        f"{look.weight:.2f} in what it is, {look.blank_weight:.2f} in whether there is anything"
    )  # fmt: skip
    if calibration.rejection is not None:
        yield f"rejection     {calibration.rejection.score} below {calibration.rejection.threshold:.3g}"
    yield f"fitted on     {calibration.fitted_on or 'not stated'}"


def _gate(gate: Gate) -> Iterator[str]:
    yield from ("", "What int8 costs", "---------------", f"{gate.images} images: {gate.data}")
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
    yield from ("", title, "-" * len(title))
    for label in card.labels:
        taxon = label.kind if label.taxon is None else f"{label.taxon.scientific_name} ({label.taxon.rank})"
        enrolled = ", enrolled" if label.name in card.enrolled else ""
        yield f"{label.name:<28} {label.common_name:<32} {taxon}{enrolled}"


if __name__ == "__main__":
    sys.exit(main())
