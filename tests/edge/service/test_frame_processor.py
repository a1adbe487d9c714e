"""One file from its bytes to its result, without a database: what is classified, what waits, what is a duplicate."""

import os
from pathlib import Path

import cv2
import pytest

from edge.capture.files import FileState, file_state
from edge.database.frame_result import ClassifiedFrame, Duplicate, FailedFile
from edge.image.decode import digest
from edge.image.memory_limit import MAX_BYTES
from edge.inference.decision import Decider
from edge.inference.model import Model
from edge.inference.predictor import Models
from edge.service.frame_processor import FrameProcessor
from edge.settings.deployment_table import Deployment
from edge.settings.options import Settings
from edge.vocabulary import FileReason, Kind
from tests.support.made_images import noisy_jpeg


class Known:
    """What a database would know: digests of logged content, and the frame that was logged at each path."""

    def __init__(self) -> None:
        self.logged: set[str] = set()
        self.at: dict[str, tuple[int, str]] = {}
        self.images: set[str] = set()

    def is_logged(self, digest: str) -> bool:
        return digest in self.logged

    def has_image(self, image_digest: str, digest: str) -> bool:
        return image_digest in self.images and digest not in self.logged

    def logged_at(self, path: str) -> tuple[int, str] | None:
        return self.at.get(path)


@pytest.fixture
def known() -> Known:
    return Known()


@pytest.fixture
def processor(tiny_model: Path, tmp_path: Path, known: Known) -> FrameProcessor:
    model = Model(tiny_model)
    cv2.setNumThreads(4)
    deployments = (Deployment(id="ridge", folder=tmp_path / "ridge"),)
    return FrameProcessor(Models(model, Decider(model.card)), Settings(deployments=deployments), known)


def written(path: Path, data: bytes) -> FileState:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    file = file_state(str(path))
    assert file is not None
    return file


def test_a_whole_frame_is_classified(tmp_path: Path, processor: FrameProcessor) -> None:
    data = noisy_jpeg(1, "2026:05:01 06:00:00")
    result = processor.process(written(tmp_path / "ridge" / "a.jpg", data))
    assert isinstance(result, ClassifiedFrame)
    assert (result.digest, result.width_px, result.height_px, result.deployment) == (digest(data), 192, 144, "ridge")
    assert result.conclusion.captured.raw == "2026:05:01 06:00:00"
    assert result.conclusion.decision.kind in Kind
    assert result.conclusion is result.conclusion  # worked out once


def test_frames_are_decoded_on_one_thread_each(processor: FrameProcessor) -> None:
    assert cv2.getNumThreads() == 1


@pytest.mark.parametrize(
    ("name", "data", "reason", "final"),
    [
        ("a.jpg", noisy_jpeg(1)[:-20], FileReason.TRUNCATED, False),
        ("a.jpg", b"", FileReason.EMPTY, False),
        ("film.mp4", b"no image at all", FileReason.UNSUPPORTED_FORMAT, True),
    ],
)
def test_what_is_no_whole_frame_fails_with_its_reason(
    tmp_path: Path, processor: FrameProcessor, name: str, data: bytes, reason: FileReason, final: bool
) -> None:
    result = processor.process(written(tmp_path / name, data))
    assert isinstance(result, FailedFile)
    assert (result.reason, result.final) == (reason, final)


def test_an_enormous_file_is_not_read(tmp_path: Path, processor: FrameProcessor) -> None:
    path = tmp_path / "enormous.jpg"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # takes no room on the disk
    seen = file_state(str(path))
    assert seen is not None
    result = processor.process(seen)
    assert isinstance(result, FailedFile)
    assert (result.reason, result.final, result.digest) == (FileReason.TOO_LARGE, True, None)


def test_a_file_that_changed_since_it_was_seen_is_tried_again(tmp_path: Path, processor: FrameProcessor) -> None:
    file = written(tmp_path / "a.jpg", noisy_jpeg(1))
    os.utime(file.path, ns=(0, file.mtime_ns + 1))
    result = processor.process(file)
    assert isinstance(result, FailedFile)
    assert (result.reason, result.final) == (FileReason.TRUNCATED, False)
    assert result.file.mtime_ns == file.mtime_ns + 1


def test_a_file_that_is_gone_has_no_result(tmp_path: Path, processor: FrameProcessor) -> None:
    file = written(tmp_path / "a.jpg", noisy_jpeg(1))
    os.unlink(file.path)
    assert processor.process(file) is None


def test_logged_content_is_a_duplicate(tmp_path: Path, processor: FrameProcessor, known: Known) -> None:
    data = noisy_jpeg(1)
    known.logged.add(digest(data))
    file = written(tmp_path / "b.jpg", data)
    assert processor.process(file) == Duplicate(file, digest(data))


def test_a_frame_that_grew_after_its_end_is_the_frame_that_was_logged(
    tmp_path: Path, processor: FrameProcessor, known: Known
) -> None:
    data = noisy_jpeg(1)
    file = written(tmp_path / "a.jpg", data + b"a preview")
    known.at[file.path] = (len(data), digest(data))
    assert processor.process(file) == Duplicate(file, digest(data + b"a preview"), digest(data))
    known.at[file.path] = (len(data), digest(noisy_jpeg(2)))
    assert isinstance(processor.process(file), ClassifiedFrame)


def test_content_that_was_logged_while_the_frame_was_in_hand_is_a_duplicate(
    tmp_path: Path, processor: FrameProcessor, known: Known
) -> None:
    data = noisy_jpeg(1) + b"a preview"
    file = written(tmp_path / "a.jpg", data)
    frame = processor.process(file)
    assert isinstance(frame, ClassifiedFrame)
    assert processor.again_after_others(frame, set()) is frame
    assert processor.again_after_others(frame, {frame.digest}) == Duplicate(file, frame.digest)
    known.at[file.path] = (len(noisy_jpeg(1)), digest(noisy_jpeg(1)))
    assert processor.again_after_others(frame, set()) == Duplicate(file, frame.digest, digest(noisy_jpeg(1)))
    known.logged.add(frame.digest)
    assert processor.again_after_others(frame, set()) == Duplicate(file, frame.digest)
