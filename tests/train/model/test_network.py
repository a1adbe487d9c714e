"""Its attention map is a gradient, its groups are exact, and each kind of pooling gives the outputs of contract 1."""

import pytest
import torch

from train import TrainError
from train.model.network import Grouping, Network, PartPooling, standardised
from train.recipe import NetworkSpec


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "spec",
    [
        NetworkSpec("resnet10t", groups=((0, 1), (2,), (3, 4, 5)), blank=2),
        NetworkSpec("resnet10t", blank=0),
        NetworkSpec("resnet10t", embedding_dim=8, blank=1),
        NetworkSpec("resnet10t", head="metric", blank=1),
    ],
)
def test_average_attention_is_the_gradient_of_animal_against_blank(spec: NetworkSpec, images: torch.Tensor) -> None:
    torch.manual_seed(1)
    network = Network(spec, 3).eval()
    features = network.backbone(images).detach().requires_grad_()
    vector = features.mean((2, 3))
    classes = network.head(vector if network.projection is None else network.projection(vector))
    logits = classes if network.grouping is None else network.grouping(classes)
    p_blank = torch.softmax(logits, 1)[:, spec.blank]
    torch.log((1 - p_blank) / p_blank).sum().backward()  # type: ignore[no-untyped-call]
    expected = (features.grad * features).sum(1).detach()
    attention = network(images).attention[:, 0].detach()
    # The same map up to a positive factor (number of positions, scale and length of a cosine head's features).
    ratio = (attention * expected).sum((1, 2)) / (expected * expected).sum((1, 2))
    assert (ratio > 0).all()
    torch.testing.assert_close(
        attention, expected * ratio[:, None, None], rtol=1e-3, atol=1e-4 * float(attention.abs().max())
    )


def test_groups_are_summed_exactly() -> None:
    classes = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)) * 10
    grouped = Grouping(((0, 5), (1,), (2, 3, 4)), 6)(classes)
    expected = torch.softmax(classes.double(), 1)
    expected = torch.stack([expected[:, [0, 5]].sum(1), expected[:, 1], expected[:, 2:5].sum(1)], 1)
    torch.testing.assert_close(torch.softmax(grouped.double(), 1), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("pooling", "maps", "width"), [("average", 1, 512), ("attention", 1, 512), ("parts", 3, 1536)])
def test_outputs(pooling: str, maps: int, width: int, images: torch.Tensor) -> None:
    network = Network(NetworkSpec("resnet10t", pooling, parts=3), 5).eval()  # type: ignore[arg-type]
    logits, embedding, attention = network(images)
    assert logits.shape == (2, 5)
    assert embedding.shape == (2, width)
    assert attention.shape == (2, maps, 2, 2)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(2))


def test_attention_pooling_begins_as_the_mean(images: torch.Tensor) -> None:
    network = Network(NetworkSpec("resnet10t", "attention"), 5).eval()
    features = network.backbone(images)
    torch.testing.assert_close(network.pooling(features)[0], features.mean((2, 3)))


def test_wrong_specs_are_refused_in_one_line() -> None:
    with pytest.raises(TrainError, match="no backbone 'nosuchnet'"):
        Network(NetworkSpec("nosuchnet"), 3)
    with pytest.raises(TrainError, match="2 groups of classes for 3 labels"):
        Network(NetworkSpec("resnet10t", groups=((0,), (1,))), 3)


def test_standardised_images_are_alike_whatever_their_cast(images: torch.Tensor) -> None:
    gains, floors = torch.tensor([0.3, 1.2, 0.6])[:, None, None], torch.tensor([0.5, -0.4, 0.1])[:, None, None]
    # Sums are those of an image's bytes, which these are not: what is left is rounding.
    torch.testing.assert_close(standardised(images), standardised(images * gains + floors), atol=0.005, rtol=0)
    grey = torch.full((1, 3, 8, 8), -114 / 128)
    grey[0, 0, 0, 0] += 1 / 128
    assert float(standardised(grey).abs().max()) < 0.1  # noise is not made an image


def test_parts_learn_in_float16() -> None:
    torch.manual_seed(0)
    pooling = PartPooling(8, 2)
    norm = pooling.maps[1]
    assert isinstance(norm, torch.nn.BatchNorm2d)
    with torch.no_grad():
        norm.bias[0] = -50.0  # a map that sees nothing, as some do in most images
    features = torch.randn(2, 8, 3, 3, requires_grad=True)
    with torch.autocast("cpu", torch.float16):
        pooled, _ = pooling(features)
    pooled.float().square().sum().backward()
    assert features.grad is not None
    assert bool(torch.isfinite(features.grad).all())
