import torch

from train.fit.losses.attention import PartCentres, attention_crop, attention_drop, box_attention_loss


def spot(row: int, column: int) -> torch.Tensor:
    """float32[1, 1, 8, 8], high in one cell."""
    maps = torch.zeros(1, 1, 8, 8)
    maps[0, 0, row, column] = 1.0
    return maps


def test_the_crop_enlarges_what_attention_points_at() -> None:
    pixels = torch.zeros(1, 3, 64, 64)
    pixels[:, :, 8:16, 40:48] = 1.0
    closer = attention_crop(pixels, spot(1, 5))
    assert closer.shape == pixels.shape
    assert float(closer.mean()) > 4 * float(pixels.mean())


def test_the_drop_takes_it_away() -> None:
    pixels = torch.ones(1, 3, 64, 64)
    dropped = attention_drop(pixels, spot(1, 5))
    assert float(dropped[0, 0, 12, 44]) == 0
    assert float(dropped[0, 0, 50, 10]) == 1


def test_attention_without_any_height_leaves_the_whole_image() -> None:
    pixels = torch.rand(2, 3, 16, 16)
    assert torch.allclose(attention_crop(pixels, torch.zeros(2, 3, 4, 4)), pixels, atol=1e-5)


def test_attention_in_the_box_costs_nothing_and_outside_much() -> None:
    box = torch.tensor([[0.5, 0.0, 0.5, 0.5]])
    inside, outside = box_attention_loss(spot(1, 6), box), box_attention_loss(spot(6, 1), box)
    assert float(inside) < 0.01
    assert float(outside) > 5
    assert float(box_attention_loss(spot(6, 1), torch.full((1, 4), torch.nan))) == 0


def test_its_gradient_moves_attention_into_the_box() -> None:
    maps = torch.rand(1, 2, 8, 8, requires_grad=True)
    loss = box_attention_loss(maps, torch.tensor([[0.5, 0.5, 0.5, 0.5]]))
    (gradient,) = torch.autograd.grad(loss, maps)
    assert bool((gradient[0, :, 4:, 4:] < 0).all())
    assert bool((gradient[0, :, :4, :4] > 0).all())


def test_centres_move_towards_their_label_in_training_only() -> None:
    centres = PartCentres(2, 3, pace=0.5)
    embedding, labels = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]), torch.tensor([0, 1])
    first = float(centres(embedding, labels))
    assert float(centres(embedding, labels)) < first
    torch.testing.assert_close(centres.centres, 0.75 * embedding)  # by half of what is left, twice
    centres.eval()
    before = centres.centres.clone()
    centres(embedding, labels)
    assert torch.equal(before, centres.centres)


def test_a_centre_moves_to_the_mean_of_its_label_however_frequent() -> None:
    torch.manual_seed(0)
    centres = PartCentres(2, 3, pace=0.05)
    buffer = centres.centres
    embedding = torch.nn.functional.normalize(torch.randn(128, 3) + 1, dim=1)
    for _ in range(200):
        loss = float(centres(embedding, torch.zeros(128, dtype=torch.long)))
    assert loss < 1
    torch.testing.assert_close(centres.centres[0], embedding.mean(0), rtol=1e-3, atol=1e-3)
    assert float(centres.centres[1].abs().sum()) == 0
    assert centres.centres is buffer  # processes that train together share it
