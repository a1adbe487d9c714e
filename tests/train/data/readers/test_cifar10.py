"""CIFAR-10: class folders in a tar, and the original batches."""

import hashlib
import pickle
import shutil
import tarfile
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import CIFAR10

from edge.image.decode import decode
from tests.support.made_files import write_image
from train.data.readers import read_dataset, recognise_layout
from train.data.sample import DataError


def test_cifar10_tar_is_unpacked_once(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_image(tmp_path / "made" / split / "airplane" / "0000.png")
    with tarfile.open(tmp_path / "cifar.tar.gz", "w:gz") as tar:
        for split in ("train", "test"):
            tar.add(tmp_path / "made" / split, split)
    shutil.rmtree(tmp_path / "made")
    samples = read_dataset(tmp_path / "cifar.tar.gz").samples
    assert sorted((s.label, s.split) for s in samples) == [("airplane", "test"), ("airplane", "train")]
    assert samples[0].path.exists()
    samples[0].path.unlink()
    assert len(read_dataset(tmp_path / "cifar.tar.gz").samples) == 1  # not unpacked again


def test_cifar10_tar_is_unpacked_by_one_of_several_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "made" / "train" / "airplane" / "0000.png")
    with tarfile.open(tmp_path / "cifar.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "made" / "train", "train")
    other = threading.Thread(target=read_dataset, args=(tmp_path / "cifar.tar.gz",))
    unpacked: list[Path] = []
    extractall = tarfile.TarFile.extractall

    def while_another_comes(tar: tarfile.TarFile, path: Path) -> None:
        unpacked.append(path)
        if len(unpacked) == 1:
            other.start()
            other.join(0.3)  # it waits for us
        extractall(tar, path)

    monkeypatch.setattr(tarfile.TarFile, "extractall", while_another_comes)
    assert len(read_dataset(tmp_path / "cifar.tar.gz").samples) == 1
    other.join()
    assert len(unpacked) == 1


@pytest.fixture
def batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`cifar-10-batches-py` as published, but of two classes, two images a batch, and with checksums of its own."""
    folder = tmp_path / "data" / "cifar-10-batches-py"
    folder.mkdir(parents=True)

    def write(name: str, content: dict[str, object]) -> str:
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        return hashlib.md5(data).hexdigest()

    names = [f"data_batch_{n}" for n in range(1, 6)]
    rows = np.stack([np.full(3072, 40, np.uint8), np.full(3072, 200, np.uint8)])
    sums = {name: write(name, {"data": rows, "labels": [0, 1]}) for name in (*names, "test_batch")}
    meta = write("batches.meta", {"label_names": ["airplane", "bird"]})
    monkeypatch.setattr(CIFAR10, "train_list", [[name, sums[name]] for name in names])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": meta})
    return folder


@pytest.mark.parametrize("given", ["folder", "batches", "tar"])
def test_cifar10_original_batches(batches: Path, tmp_path: Path, given: str) -> None:
    path = {"folder": batches.parent, "batches": batches, "tar": tmp_path / "cifar-10-python.tar.gz"}[given]
    if given == "tar":
        with tarfile.open(path, "w:gz") as tar:
            tar.add(batches, batches.name)
    samples = read_dataset(path).samples
    counts = Counter((sample.label, sample.split) for sample in samples)
    assert counts == {(label, "train"): 5 for label in ("airplane", "bird")} | {
        (label, "test"): 1 for label in ("airplane", "bird")
    }
    bird = next(sample for sample in samples if sample.label == "bird")
    assert (decode(bird.path.read_bytes()).pixels == 200).all()


def test_cifar10_that_is_not_whole_is_told_in_one_line(batches: Path, tmp_path: Path) -> None:
    (batches / "data_batch_3").write_bytes(b"cut")
    with pytest.raises(DataError, match="does not hold the train batches"):
        read_dataset(batches.parent)
    (tmp_path / "cifar.tar.gz").write_bytes(b"cut")
    with pytest.raises(DataError, match="cannot be unpacked"):
        read_dataset(tmp_path / "cifar.tar.gz")


def test_a_folder_with_the_tar_of_cifar10_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "cifar10-jpeg.tar.gz").touch()
    assert recognise_layout(tmp_path) == "cifar10"
