"""Losses that use attention: attention crop and drop (WS-DAN), part centres, and attention inside bounding boxes."""

import torch
from torch import Tensor, nn
from torch.nn import functional


def attention_crop(pixels: Tensor, maps: Tensor, margin: float = 0.1) -> Tensor:
    """float32[N, 3, H, W]: each image enlarged to where one of its attention maps, drawn by its strength, is high.

    Hu et al. 2019, "See Better Before Looking Closer: Weakly Supervised Data Augmentation Network".
    """
    chosen = _drawn(maps, pixels.shape[2:])
    threshold = chosen.amax((1, 2), keepdim=True) * _uniform(len(pixels), 0.4, 0.6, pixels)
    high = chosen >= threshold
    columns, rows = _extent(high.any(1), margin), _extent(high.any(2), margin)
    x = columns[0][:, None] + _centres(pixels.shape[3], pixels) * (columns[1] - columns[0])[:, None]
    y = rows[0][:, None] + _centres(pixels.shape[2], pixels) * (rows[1] - rows[0])[:, None]
    grid = torch.stack([x[:, None, :].expand(-1, y.shape[1], -1), y[:, :, None].expand(-1, -1, x.shape[1])], dim=3)
    return functional.grid_sample(pixels, grid * 2 - 1, align_corners=False, padding_mode="border")


def attention_drop(pixels: Tensor, maps: Tensor) -> Tensor:
    """float32[N, 3, H, W]: each image without the part that one of its maps points at (same source)."""
    chosen = _drawn(maps, pixels.shape[2:])
    threshold = chosen.amax((1, 2), keepdim=True) * _uniform(len(pixels), 0.2, 0.5, pixels)
    return pixels * (chosen < threshold)[:, None]


def box_attention_loss(maps: Tensor, boxes: Tensor) -> Tensor:
    """Negative log of the share of attention that lies in the box: float32[N, M, h, w], float32[N, 4] as x, y, width,
    height in fractions, NaN where unknown. Zero when no box of the batch is known.
    """
    known = ~boxes.isnan().any(1)
    if not bool(known.any()):
        return maps.sum() * 0.0
    maps, boxes = maps[known].float().clamp_min(0), boxes[known]
    mass = maps.sum(1) + 1e-6
    mass = mass / mass.sum((1, 2), keepdim=True)
    inside = (
        _covered(boxes[:, 1], boxes[:, 3], mass.shape[1])[:, :, None]
        * _covered(boxes[:, 0], boxes[:, 2], mass.shape[2])[:, None, :]
    )
    return -torch.log((mass * inside).sum((1, 2)).clamp_min(1e-4)).mean()


class PartCentres(nn.Module):
    """Each label's features drawn to a slowly moving centre, so that a part map means the same part in all images."""

    centres: Tensor

    def __init__(self, num_labels: int, embedding_dim: int, pace: float = 0.05) -> None:
        super().__init__()
        self.pace = pace
        self.register_buffer("centres", torch.zeros(num_labels, embedding_dim))

    def forward(self, embedding: Tensor, labels: Tensor) -> Tensor:
        """The loss for L2-normalised embeddings float32[N, D]; in training, each centre moves towards its
        label's mean.
        """
        embedding = embedding.float()
        own = self.centres[labels]
        loss = ((embedding - functional.normalize(own, dim=1)) ** 2).sum(1).mean()
        if self.training:
            with torch.no_grad():
                count = torch.bincount(labels, minlength=len(self.centres)).unsqueeze(1)
                total = torch.zeros_like(self.centres).index_add_(0, labels, embedding - own)
                # By the mean: a sum would overshoot where a label is frequent. In place: processes share the buffer.
                self.centres += self.pace * total / count.clamp_min(1)
        return loss


def _drawn(maps: Tensor, size: torch.Size) -> Tensor:
    """float32[N, H, W]: one map of each image, drawn by the square root of its sum, at the image's size."""
    maps = maps.detach().float().clamp_min(0)
    weight = maps.sum((2, 3)).sqrt() + 1e-6
    pick = torch.multinomial(weight, 1)[:, 0]
    chosen = maps[torch.arange(len(maps), device=maps.device), pick][:, None]
    return functional.interpolate(chosen, size=tuple(size), mode="bilinear", align_corners=False)[:, 0]


def _centres(count: int, like: Tensor) -> Tensor:
    """float32[count]: centres of the pixels of a side, as fractions."""
    return (torch.arange(count, device=like.device) + 0.5) / count


def _uniform(count: int, low: float, high: float, like: Tensor) -> Tensor:
    return torch.empty(count, 1, 1, device=like.device).uniform_(low, high)


def _extent(present: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """First and last place of bool[N, K] along K, as fractions with a margin; the whole where nothing is present."""
    length = present.shape[1]
    places = torch.arange(length, device=present.device)
    first = torch.where(present, places, length).amin(1) / length - margin
    last = (torch.where(present, places, -1).amax(1) + 1) / length + margin
    empty = ~present.any(1)
    return first.clamp_min(0).masked_fill(empty, 0.0), last.clamp_max(1).masked_fill(empty, 1.0)


def _covered(start: Tensor, length: Tensor, cells: int) -> Tensor:
    """float32[N, cells]: the share of each cell that [start, start + length] covers."""
    edges = torch.arange(cells + 1, device=start.device) / cells
    low = torch.maximum(edges[:-1][None], start[:, None])
    high = torch.minimum(edges[1:][None], (start + length)[:, None])
    return ((high - low).clamp_min(0) * cells).float()
