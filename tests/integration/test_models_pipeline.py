"""The order and the batches in which images are trained on."""

import numpy as np
import pytest

from models import pipeline
from models.pipeline import TrainingBatches, augmented, epoch_order, evaluation_batches
from tests.support.pictures import sets


def test_augmented_images_are_the_images_shifted_or_flipped() -> None:
    ramp = np.arange(16, dtype=np.uint8) * 10
    images = np.broadcast_to(ramp[None, None, :, None], (200, 16, 16, 3)).copy()
    chances = np.random.default_rng(0).random((200, 3))
    made = augmented(images, chances)
    assert made.shape == images.shape
    assert made.dtype == np.uint8
    rows = {tuple(image[0, 2:-2, 0]) for image in made}  # what no reflection reaches
    rising = {tuple(ramp[2 + by : 14 + by]) for by in range(-2, 3)}
    assert rows == rising | {row[::-1] for row in rising}


@pytest.mark.parametrize("augment", [False, True])
def test_an_epochs_batches_depend_on_seed_and_epoch_alone(augment: bool) -> None:
    def epoch(number: int) -> list[np.ndarray]:
        batches = TrainingBatches(sets().train, 20, seed=1, by_parts=False, augment=augment)
        batches.epoch = number
        return [images.numpy() for images, _ in batches.dataset]

    first = epoch(1)
    assert [len(images) for images in first] == [20, 20, 20, 20, 16]
    np.testing.assert_array_equal(np.concatenate(first), np.concatenate(epoch(1)))
    assert not np.array_equal(first[0], epoch(2)[0])


def test_pieces_larger_than_a_batch_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def epoch() -> np.ndarray:
        batches = TrainingBatches(sets().train, 20, seed=1, by_parts=False, augment=True)
        return np.concatenate([images.numpy() for images, _ in batches.dataset])

    in_one = epoch()
    monkeypatch.setattr(pipeline, "PIECE", 1)  # a batch at a time
    np.testing.assert_array_equal(epoch(), in_one)


def test_no_iterator_waits_for_a_thread_that_tunes_it() -> None:
    """One in thirty took up to 20 s to go (TensorFlow 2.21); what shows of it is the option."""
    split = sets().train
    training = TrainingBatches(split, 20, seed=1, by_parts=False).dataset
    for dataset in (training, evaluation_batches(split)):
        assert dataset.options().autotune.enabled is False


def test_an_epoch_goes_through_the_folders_in_turn_or_through_all() -> None:
    folders = epoch_order((60, 36), seed=1, epoch=1)
    assert sorted(folders[:60]) == list(range(60))
    assert sorted(folders[60:]) == list(range(60, 96))
    together = epoch_order((96,), seed=1, epoch=1)
    assert sorted(together) == list(range(96))
    assert set(together[:60]) != set(range(60))
    assert list(together) == list(epoch_order((96,), seed=1, epoch=1))
    assert list(together) != list(epoch_order((96,), seed=1, epoch=2))
    assert list(together) != list(epoch_order((96,), seed=2, epoch=1))
