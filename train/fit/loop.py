"""The training loop: samples and a recipe in, a trained network out; the same seed gives the same network."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from edge.inference.taxonomy import Taxon
from train import TrainError, first_line
from train.atomic_save import save_atomically
from train.data.batch_sampler import BatchOrder, expected_draws
from train.data.image_cache import PixelSource
from train.data.sample import Sample
from train.fit.augment.mix import Mixing
from train.fit.augment.training_images import TrainingImages
from train.fit.learning_rate import frozen_parameters, learning_rate, parameter_groups
from train.fit.losses.objective import Batch, Objective
from train.fit.training_state import load_state, samples_digest
from train.model.network import Network, normalised
from train.model.pretrained import build_with_weights
from train.recipe import OptimiserSettings, Recipe
from train.runtime.distributed import Processes
from train.runtime.training_log import Progress

STATE_FILE = "state.pt"
_SKIPPED_STEPS = 30  # in a row: float16 begins by halving its scale until gradients fit, some 15 times


@dataclass(frozen=True, slots=True)
class Task:
    """The samples of a training, with their labels."""

    samples: tuple[Sample, ...]
    labels: tuple[str, ...]
    taxa: tuple[Taxon | None, ...]
    """Taxon of each label; `None` where it is no animal or not known."""
    source: PixelSource
    backgrounds: tuple[Sample, ...] = ()


def fit(
    recipe: Recipe,
    task: Task,
    folder: Path,
    processes: Processes,
    resume: bool = False,
    workers: int = 0,
    tensorboard: bool = False,
) -> Network:
    """Train. Returns the network (averaged weights where the recipe averages).

    The state after each epoch is saved in `folder`; with `resume` training continues from it. Raises `TrainError` for
    settings that do not go together.
    """
    settings = recipe.optimiser
    check_settings(recipe, processes)
    # The first process writes the state, so its state counts: on another machine the folder may lack it.
    stored = processes.from_first(stored_state(recipe, task, folder) if resume and processes.first else None)
    torch.manual_seed(recipe.seed)
    training = _Training(recipe, task, processes)
    begin = 0
    if stored is not None:
        training.load(stored)
        begin = stored["epochs_done"]
    order = BatchOrder(
        task.samples,
        recipe.data.balance,
        settings.batch,
        recipe.seed,
        processes.rank,
        processes.world,
        settings.accumulate,
    )
    images = TrainingImages(
        task.samples, task.labels, task.source, recipe.augment, recipe.input.size_px, task.backgrounds
    )
    loader = DataLoader(
        images,
        batch_sampler=order,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=processes.device.type == "cuda",
    )
    steps = len(order)
    progress = Progress(
        folder if processes.first else None,
        steps * (settings.epochs - begin),
        tensorboard=tensorboard,
        steps_done=steps * begin,
    )
    for epoch in range(begin, settings.epochs):
        order.epoch = epoch
        loss = training.epoch(epoch, loader, steps, progress)
        progress.epoch(epoch + 1, loss)
        if processes.first:
            done = {"epochs_done": epoch + 1, "recipe": recipe.document(), "samples": _digest(task)}
            try:
                save_atomically(folder / STATE_FILE, training.state() | done)
            except OSError as error:
                reason = error.strerror or error
                raise TrainError(
                    f"{folder / STATE_FILE} cannot be written ({reason}); make room, then --resume"
                ) from error
        processes.wait()
    return training.result()


def stored_state(recipe: Recipe, task: Task, folder: Path) -> dict[str, Any] | None:
    """The state that `fit` would continue from, or `None`. Raises `TrainError` when it is of another training."""
    return load_state(folder / STATE_FILE, recipe.document(), _digest(task))


def _digest(task: Task) -> str:
    return samples_digest(task.labels, task.samples, task.backgrounds)


def check_settings(recipe: Recipe, processes: Processes) -> None:
    """Raises `TrainError` for settings that do not go together."""
    settings, loss, world = recipe.optimiser, recipe.loss, processes.world
    batch, parts, epochs, head_epochs = settings.batch, settings.accumulate, settings.epochs, settings.head_epochs
    unclassified, boxed = loss.classification == "none", loss.box_attention_weight > 0
    problems = {
        f"batch {batch} does not divide into {world} processes x {parts} parts": batch % (world * parts) > 0,
        f"head_epochs {head_epochs} is more than epochs {epochs}": head_epochs > epochs,
        "box_attention_weight needs learned attention; set network.pooling to attention or parts": (
            boxed and recipe.network.pooling == "average"
        ),
        "augment.policy moves the animal out of its box; set it to none, or box_attention_weight to 0": (
            boxed and recipe.augment.policy != "none"
        ),
        "the recipe has no loss; set loss.classification or loss.metric": unclassified and loss.metric == "none",
        "without loss.classification, labels are decided by the nearest prototype; set network.head=metric": (
            unclassified and recipe.network.head != "metric"
        ),
        "attention_crop and attention_drop need loss.classification": (
            unclassified and loss.attention_crop + loss.attention_drop > 0
        ),
        "taxonomy_beta distributes the smoothed mass; set loss.label_smoothing above 0": (
            loss.taxonomy_beta > 0 and loss.label_smoothing == 0
        ),
    }
    for problem, is_there in problems.items():
        if is_there:
            raise TrainError(problem)


class _Training:
    """Everything that changes during a training."""

    def __init__(self, recipe: Recipe, task: Task, processes: Processes) -> None:
        self.recipe, self.processes = recipe, processes
        settings = recipe.optimiser
        network = build_with_weights(recipe.network, len(task.labels), recipe.weights).to(processes.device)
        if settings.channels_last:
            network = network.to(memory_format=torch.channels_last)
        frozen = frozen_parameters(network.backbone, settings.frozen_groups)
        self.frozen_modules = [
            module
            for name, module in network.backbone.named_modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and f"{name}.weight" in frozen
        ]
        counts = expected_draws(task.samples, task.labels, recipe.data.balance)
        width, self.idle = _probe(network, recipe.input.size_px, processes.device)
        self.objective = Objective(network, recipe.loss, counts, task.taxa, width).to(processes.device)
        self.idle |= {parameter for name, parameter in network.backbone.named_parameters() if name in frozen}
        if settings.compile:
            network.compile()
        self.groups = parameter_groups(self.objective, settings)
        self.optimiser = _optimiser(settings, self.groups)
        self.ema = ModelEmaV3(network, settings.ema_decay, use_warmup=True) if settings.ema_decay > 0 else None
        self.scaler = torch.amp.GradScaler(processes.device.type, enabled=settings.amp == "fp16")
        loss = recipe.loss
        pure = loss.metric != "none" or loss.part_centre_weight > 0 or loss.box_attention_weight > 0
        self.mixing = Mixing(recipe.augment, len(task.labels), 0.5 if pure else 1.0)
        self.failed_steps = 0

    def epoch(self, epoch: int, loader: DataLoader[Any], steps: int, progress: Progress) -> float:
        """Mean loss of the epoch."""
        settings = self.recipe.optimiser
        head_only = epoch < settings.head_epochs
        self._set_mode(head_only)
        module = self._shared()
        total, counted = 0.0, 0
        for number, (images, labels, boxes) in enumerate(loader):
            step = epoch * steps + number
            rate = learning_rate(settings, step, steps)
            for group in self.optimiser.param_groups:
                group["lr"] = rate * group["lr_scale"]
            # Mixing, dropout and attention crops draw from this: by step, so that a resumed run draws the same. That
            # a batch is mixed at all is the same in all processes, for what then has no gradient must have none in all.
            self._seed(step, 0)
            mixes = self.mixing.wanted()
            if not self.processes.first:
                self._seed(step, self.processes.rank)
            scale = self.scaler.get_scale()
            # The mean over all processes, so that all stop when one has diverged, and none waits for it.
            loss = self.processes.mean(self._step(module, images, labels, boxes, mixes))
            self._count_failure(loss, self.scaler.get_scale() < scale, epoch, number)
            if self.ema is not None:
                self.ema.update(self.objective.network, step=step)
            if math.isfinite(loss):
                total, counted = total + loss, counted + 1
            progress.step(epoch + (number + 1) / steps, settings.batch, loss, rate)
        if counted == 0 or not all(bool(torch.isfinite(value).all()) for value in self.objective.state_dict().values()):
            raise self._diverged("loss or weights are not finite", epoch, steps - 1)
        return total / counted

    def _seed(self, step: int, rank: int) -> None:
        seed = np.random.SeedSequence((self.recipe.seed, step, rank)).generate_state(1)
        torch.manual_seed(int(seed[0]))

    def _count_failure(self, loss: float, skipped: bool, epoch: int, number: int) -> None:
        """Raises `TrainError` when training has diverged: at once, or after many steps in a row that float16
        skipped.
        """
        self.failed_steps = self.failed_steps + 1 if skipped or not math.isfinite(loss) else 0
        if self.failed_steps > (_SKIPPED_STEPS if self.scaler.is_enabled() else 0):
            fact = f"gradients overflow in {self.failed_steps} steps in a row" if skipped else f"the loss is {loss}"
            raise self._diverged(fact, epoch, number)

    def _diverged(self, fact: str, epoch: int, number: int) -> TrainError:
        return TrainError(
            f"training diverged: {fact} in epoch {epoch + 1}, step {number + 1}; lower optimiser.lr or set "
            "optimiser.clip_norm" + (", or set optimiser.amp to bf16 or off" if self.scaler.is_enabled() else "")
        )

    def _step(self, module: nn.Module, images: Tensor, labels: Tensor, boxes: Tensor, mixes: bool) -> float:
        settings = self.recipe.optimiser
        self.optimiser.zero_grad(set_to_none=True)
        parts = list(zip(*(t.chunk(settings.accumulate) for t in (images, labels, boxes)), strict=True))
        total = 0.0
        for place, part in enumerate(parts):
            waits = isinstance(module, DistributedDataParallel) and place < len(parts) - 1
            with module.no_sync() if waits else nullcontext():  # type: ignore[operator]
                batch = self._batch(part[0], part[1], part[2], mixes)
                with torch.autocast(
                    self.processes.device.type,
                    torch.float16 if settings.amp == "fp16" else torch.bfloat16,
                    enabled=settings.amp != "off",
                ):
                    loss, _ = module(batch)
                loss = loss / len(parts)
                self.scaler.scale(loss).backward()
            total += float(loss.detach())
        if settings.clip_norm > 0:
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.objective.parameters(), settings.clip_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        return total

    def _batch(self, images: Tensor, labels: Tensor, boxes: Tensor, mixes: bool) -> Batch:
        device = self.processes.device
        pixels = normalised(images.to(device, non_blocking=True))
        labels, boxes = labels.to(device, non_blocking=True), boxes.to(device, non_blocking=True)
        mixed = self.mixing(pixels, labels) if mixes else None
        if mixed is not None:
            pixels = mixed[0]
        if self.recipe.optimiser.channels_last:
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        return Batch(pixels, labels if mixed is None else mixed[1], labels, boxes, mixed is not None)

    def _set_mode(self, head_only: bool) -> None:
        self.objective.train()
        backbone = self.objective.network.backbone
        for parameter in backbone.parameters():
            parameter.requires_grad_(not head_only and parameter not in self.idle)
        if head_only:
            backbone.eval()
        elif self.recipe.freeze_batchnorm:
            for module in backbone.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()  # statistics stay those of the pretrained weights; scale and shift still learn
        for module in self.frozen_modules:
            module.eval()

    def _shared(self) -> nn.Module:
        """The objective, its gradients averaged over all processes where there are several."""
        if self.processes.world == 1:
            return self.objective
        devices = [self.processes.device] if self.processes.device.type == "cuda" else None
        # Proxies take no part in a mixed batch, nor does a classifier that is not trained.
        proxies = self.objective.metric is not None and any(True for _ in self.objective.metric.parameters())
        unused = self.recipe.loss.classification == "none" or (proxies and bool(self.mixing.kinds))
        return DistributedDataParallel(self.objective, device_ids=devices, find_unused_parameters=unused)

    def state(self) -> dict[str, Any]:
        return {
            "objective": self.objective.state_dict(),
            "ema": None if self.ema is None else self.ema.module.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        self.objective.load_state_dict(state["objective"])
        if self.ema is not None:
            self.ema.module.load_state_dict(state["ema"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])

    def result(self) -> Network:
        network: Network = deepcopy(self.objective.network if self.ema is None else self.ema.module)
        return network.eval()


def _optimiser(settings: OptimiserSettings, groups: Sequence[dict[str, Any]]) -> torch.optim.Optimizer:
    if settings.name == "adamw":
        return torch.optim.AdamW(groups, lr=settings.lr)
    if settings.name == "adam":
        return torch.optim.Adam(groups, lr=settings.lr)
    return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum, nesterov=settings.momentum > 0)


def _probe(network: Network, size_px: int, device: torch.device) -> tuple[int, frozenset[nn.Parameter]]:
    """(width of the embedding, parameters that influence no output).

    timm keeps some layers of its own heads, which are not used here; processes that train together would wait for their
    gradients for ever.
    """
    network.eval()
    try:
        outputs = network(torch.zeros(2, 3, size_px, size_px, device=device))
    except (RuntimeError, AssertionError, AttributeError, TypeError, ValueError) as error:
        raise TrainError(
            f"backbone {network.spec.backbone} gives no feature map of {size_px} px images ({first_line(error)}); set "
            "another input.size_px or network.backbone"
        ) from error
    (outputs.logits.sum() + outputs.embedding.sum() + outputs.attention.sum()).backward()
    idle = frozenset(parameter for parameter in network.parameters() if parameter.grad is None)
    network.zero_grad(set_to_none=True)
    return int(outputs.embedding.shape[1]), idle
