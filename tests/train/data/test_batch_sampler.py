"""Which samples are drawn, and how often."""

from collections import Counter
from pathlib import Path

import pytest

from train.data.batch_sampler import BatchOrder, expected_draws
from train.data.sample import Sample
from train.recipe import Balance

# 18 of the common label, 16 of them of one long event; 2 of the rare one
SAMPLES = [Sample(Path(f"{number}.jpg"), "common", sequence="long" if number < 16 else "short") for number in range(18)]
SAMPLES += [Sample(Path(f"{number}.jpg"), "rare", sequence="other") for number in range(2)]


def share_drawn(balance: Balance, label: str, sequence: str) -> float:
    order = BatchOrder(SAMPLES, balance, 20, seed=0)
    drawn: Counter[bool] = Counter()
    for epoch in range(100):
        order.epoch = epoch
        drawn.update((SAMPLES[n].label, SAMPLES[n].sequence) == (label, sequence) for batch in order for n, _ in batch)
    return drawn[True] / drawn.total()


@pytest.mark.parametrize(
    ("balance", "long", "short", "rare"),
    [
        ("plain", 0.8, 0.1, 0.1),
        ("class", 4 / 9, 1 / 18, 0.5),
        ("class_and_sequence", 0.5 * 4 / (4 + 2**0.5), 0.5 * 2**0.5 / (4 + 2**0.5), 0.5),  # by square roots of 16 and 2
    ],
)
def test_labels_and_events_are_drawn_as_asked(balance: Balance, long: float, short: float, rare: float) -> None:
    assert share_drawn(balance, "common", "long") == pytest.approx(long, abs=0.03)
    assert share_drawn(balance, "common", "short") == pytest.approx(short, abs=0.03)
    assert share_drawn(balance, "rare", "other") == pytest.approx(rare, abs=0.03)
    assert expected_draws(SAMPLES, ("rare", "common", "absent"), balance) == pytest.approx(
        [20 * rare, 20 * (1 - rare), 0]
    )
