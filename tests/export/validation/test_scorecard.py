"""The figures that `export model` prints."""

from export.validation.scorecard import describe


def test_figures_are_printed_one_a_line() -> None:
    proven = {"right": 9, "wrong": 1, "open": 2, "precision": 0.9, "low": 0.5958, "high": 0.9821}
    lines = describe(
        {
            "frames": 12,
            "share_answered": 1.0,
            "answers_species": proven,
            "by_source": {"right": {"right": 0, "wrong": 0, "open": 1, "frames": 2}, "cam-02": proven | {"frames": 14}},
        }
    )
    assert lines.split("\n") == [
        "  frames                   12",
        "  share_answered           1.0",
        "  answers_species          9 right, 1 wrong, 2 open; precision 0.900 (0.596 to 0.982)",
        "  by_source right          0 right, 0 wrong, 1 open of 2 frames",
        "  by_source cam-02         9 right, 1 wrong, 2 open of 14 frames; precision 0.900 (0.596 to 0.982)",
    ]
