from collections.abc import Callable

import pytest
import torch

from train.fit.losses.attention import attention_crop, attention_drop
from train.fit.losses.objective import Batch, Objective
from train.model.network import Network
from train.recipe import LossSettings, NetworkSpec

LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def objective(settings: LossSettings, pooling: str = "parts") -> Objective:
    torch.manual_seed(0)
    spec = NetworkSpec("test_efficientnet", pooling, parts=3, embedding_dim=8)  # type: ignore[arg-type]
    return Objective(Network(spec, 3), settings, (4, 4, 4), (None, None, None), 8).train()


def batch(mixed: bool = False) -> Batch:
    boxes = torch.tensor([[0.2, 0.2, 0.5, 0.5]] * 3 + [[torch.nan] * 4] * 3)
    return Batch(torch.randn(6, 3, 64, 64), LABELS, LABELS, boxes, mixed)


@pytest.mark.parametrize("metric", ["arcface", "subcenter_arcface", "proxy_anchor", "supcon", "triplet"])
def test_each_metric_loss_teaches_the_backbone_alone_or_added(metric: str) -> None:
    for classification in ("none", "cross_entropy"):
        settings = LossSettings(classification=classification, metric=metric)  # type: ignore[arg-type]
        trained = objective(settings)
        loss, logits = trained(batch())
        loss.backward()
        assert logits.shape == (6, 3)
        first = next(trained.network.backbone.parameters()).grad
        assert first is not None
        assert float(first.abs().sum()) > 0


def test_all_techniques_together_have_one_finite_loss() -> None:
    settings = LossSettings(
        classification="balanced_softmax",
        metric="supcon",
        part_centre_weight=1.0,
        attention_crop=1.0,
        attention_drop=1.0,
        box_attention_weight=1.0,
    )
    loss, _ = objective(settings)(batch())
    loss.backward()
    assert bool(torch.isfinite(loss))
    plain, _ = objective(LossSettings(classification="balanced_softmax"))(batch())
    assert loss.item() > plain.item()


@pytest.mark.parametrize(
    ("setting", "changed"), [("attention_crop", attention_crop), ("attention_drop", attention_drop)]
)
def test_the_image_that_attention_changes_is_classified_again(
    setting: str, changed: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> None:
    weighted = objective(LossSettings(**{setting: 0.7})).eval()  # type: ignore[arg-type]
    given = batch()
    torch.manual_seed(5)  # for the part map and its threshold, which are drawn at random
    loss, _ = weighted(given)
    outputs = weighted.network(given.pixels)
    torch.manual_seed(5)
    again = weighted.network(changed(given.pixels, outputs.attention))
    whole, closer = (weighted.classification(found.logits, given.targets) for found in (outputs, again))
    assert loss.item() == pytest.approx((whole + 0.7 * closer).item(), rel=1e-5)
    assert whole.item() != pytest.approx(closer.item(), rel=1e-3)


def test_losses_of_pure_samples_pass_over_mixed_batches() -> None:
    settings = LossSettings(metric="supcon", part_centre_weight=1.0)
    torch.manual_seed(1)
    mixed = batch(mixed=True)
    with_metric, _ = objective(settings)(mixed)
    without, _ = objective(LossSettings())(mixed)
    assert with_metric.item() == pytest.approx(without.item())
    on_pure_samples, _ = objective(settings)(mixed._replace(mixed=False))
    assert on_pure_samples.item() > without.item() + 0.1
