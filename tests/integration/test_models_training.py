"""Training for real, on tiny images: what it reports, what it keeps, how it goes on."""

import errno
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from models import compilation
from models.callbacks import DivergedError
from models.checkpoint import Checkpoint, CheckpointError, load_newest, previous
from models.history import OF_PREDICTIONS, REPORTED, EpochFigures, best_epoch, to_csv
from models.spec import (
    Block,
    Dense,
    EarlyStopping,
    ModelSpec,
    ReduceLROnPlateau,
    TrainingSpec,
)
from models.training import Training, evaluate, fit
from tests.support.pictures import sets
from tests.support.trainings import (
    NETWORK,
    TRAINING,
    CopyAfter,
    assert_the_same,
    broken_and_through,
    curve,
    train,
)


class StopAfter(keras.callbacks.Callback):
    def __init__(self, epoch: int) -> None:
        super().__init__()
        self._epoch = epoch

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        if epoch + 1 == self._epoch:
            self.model.stop_training = True


class KillIn(keras.callbacks.Callback):
    """Breaks the training off in the middle of an epoch, as a crash would."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs=None) -> None:
        if self.epoch + 1 == self._epoch and batch == 3:
            raise KeyboardInterrupt

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        self.epoch = epoch


# A training costs seconds, whatever its epochs and images: those that several tests look at are
# made once. No test changes them or their files.


@pytest.fixture(scope="module")
def reference_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reference") / "c.npz"


@pytest.fixture(scope="module")
def reference(reference_file: Path) -> Training:
    """NETWORK trained as TRAINING says, undisturbed."""
    return train(reference_file)


@pytest.fixture(scope="module")
def paused_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of the same training, paused after three of its four epochs."""
    path = tmp_path_factory.mktemp("paused") / "c.npz"
    train(path, callbacks=(StopAfter(3),))
    return path


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Training:
    """A training long enough to learn from, of a network without penalty."""
    # Batch normalisation needs more steps than these to know the images' mean.
    plain = ModelSpec(
        blocks=(Block(filters=4, batch_norm=False, dropout=0.2),),
        dense=Dense(units=8, batch_norm=False),
    )
    training = TRAINING.model_copy(update={"epochs": 12})
    return train(tmp_path_factory.mktemp("learned") / "c.npz", network=plain, training=training)


def test_training_learns_and_hands_over_the_best_epoch(learned: Training) -> None:
    assert len(learned.history) == 12
    assert learned.best.val_accuracy > 0.8  # three classes: chance is 0.33
    assert learned.best == best_epoch(learned.history)
    again = evaluate(learned.model, sets().validation)
    assert again.loss == pytest.approx(learned.best.val_loss, rel=1e-4)
    assert again.accuracy == pytest.approx(learned.best.val_accuracy)
    assert again.confusion.sum() == 30
    assert np.trace(again.confusion) == round(again.accuracy * 30)


def test_val_loss_is_without_the_penalty_however_large(tmp_path: Path) -> None:
    heavy = ModelSpec(blocks=(Block(filters=8, l2=0.9),), dense=Dense(units=16, l2=0.9))
    trained = train(tmp_path / "c.npz", network=heavy)
    for figures in trained.history:
        assert figures.penalised_loss > figures.loss + 0.5
        assert figures.penalised_val_loss > figures.val_loss + 0.5
    own = evaluate(trained.model, sets().validation)
    assert trained.best.val_loss == pytest.approx(own.loss, rel=1e-4)


def test_without_a_penalty_both_losses_are_the_same(learned: Training) -> None:
    for figures in learned.history:
        assert figures.penalised_loss == pytest.approx(figures.loss, rel=1e-5)
        assert figures.penalised_val_loss == figures.val_loss


def test_another_seed_gives_another_curve(tmp_path: Path, reference: Training) -> None:
    # That the same one gives the same is seen where a training starts anew.
    assert curve(train(tmp_path / "c.npz", seed=4)) != curve(reference)


@pytest.mark.slow("trains four times, one broken off")
def test_a_training_taken_up_again_has_the_curve_of_one_that_ran_through(tmp_path: Path) -> None:
    # Both callbacks that steer have something to remember across the last break.
    # These images are learned by heart within a few epochs, and val_loss has nowhere to go.
    training = TrainingSpec(
        batch_size=16,
        epochs=40,
        learning_rate=0.3,
        early_stopping=EarlyStopping(patience=3),
        reduce_lr=ReduceLROnPlateau(patience=1, factor=0.5),
    )
    path, copy = tmp_path / "through.npz", tmp_path / "broken.npz"
    through = train(path, training=training, callbacks=(CopyAfter(1, path, copy),))
    last = len(through.history)
    assert through.history[last - 3].learning_rate < 0.3  # two epochs before the end, lowered
    with pytest.raises(KeyboardInterrupt):
        train(copy, training=training, callbacks=(KillIn(last - 1),))
    saved = load_newest(copy)
    assert saved is not None
    assert saved.epoch == last - 2
    resumed = train(copy, training=training)
    assert_the_same(resumed, through)

    # Early stopping ended it, and for good.
    assert last < 40
    assert through.best.epoch == last - 3
    assert train(copy, training=training).history == resumed.history


@pytest.mark.slow("trains twice")
def test_several_steps_in_one_call_go_on_from_a_checkpoint_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: Training
) -> None:
    monkeypatch.setattr(compilation, "MANY_STEPS", 1)
    # Of six: a part is left over. Of the one that validates: more than there are.
    monkeypatch.setattr(compilation, "STEPS_AT_ONCE", 4)
    resumed, through = broken_and_through(tmp_path, NETWORK, TRAINING, after=2)
    assert_the_same(resumed, through)
    for mine, other in zip(through.history, reference.history, strict=True):
        assert mine.val_loss == pytest.approx(other.val_loss, rel=1e-3)
        assert mine.loss == pytest.approx(other.loss, rel=1e-3)


def test_a_finished_training_is_not_trained_again(
    tmp_path: Path, reference: Training, reference_file: Path
) -> None:
    told = []
    again = fit(
        NETWORK,
        TRAINING,
        sets(),
        seed=3,
        checkpoint=Path(shutil.copy(reference_file, tmp_path)),
        resumed=lambda history, last: told.append((len(history), last)),
    )
    assert told == [(4, True)]
    assert again.history == reference.history


def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    tmp_path: Path, reference: Training, paused_file: Path
) -> None:
    path = tmp_path / "c.npz"
    shutil.copy(previous(paused_file), previous(path))
    whole = paused_file.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    newest = load_newest(path)
    assert newest is not None
    assert newest.epoch == 2
    assert curve(train(path)) == curve(reference)


def test_a_paused_training_is_not_finished(paused_file: Path) -> None:
    paused = Checkpoint.load(paused_file)
    assert paused.epoch == 3
    assert not paused.finished


def test_without_a_whole_checkpoint_the_same_training_starts_anew(
    tmp_path: Path, reference: Training
) -> None:
    path = tmp_path / "c.npz"
    path.write_bytes(b"PK\x03\x04 no checkpoint")
    previous(path).write_bytes(b"")
    assert load_newest(path) is None
    assert_the_same(train(path), reference)


def test_a_checkpoint_that_may_not_be_read_is_not_trained_over(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        load_newest(path)


def test_a_checkpoint_is_written_where_nothing_can_be_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", fsync)
    saved = Checkpoint((), finished=False, state={"a": np.zeros(3)}, best=())
    saved.save(tmp_path / "c.npz")
    assert Checkpoint.load(tmp_path / "c.npz").state.keys() == {"a"}
    monkeypatch.undo()


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path, paused_file: Path) -> None:
    other = ModelSpec(blocks=(Block(filters=5),), dense=Dense(units=8))
    with pytest.raises(CheckpointError, match="another network"):
        train(Path(shutil.copy(paused_file, tmp_path)), network=other)


def test_a_pickle_in_place_of_a_checkpoint_runs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    np.savez(path, meta=np.array([{"a": print}], dtype=object))
    with pytest.raises(CheckpointError):
        Checkpoint.load(path)


def test_a_training_that_diverges_says_so(tmp_path: Path) -> None:
    wild = TrainingSpec(batch_size=16, epochs=4, learning_rate=10.0)
    network = ModelSpec(
        blocks=(Block(filters=8, batch_norm=False, l2=1.0),),
        dense=Dense(units=8, batch_norm=False, l2=1.0),
    )
    data = sets()
    # No image has such values.
    broken: Any = data.train.images.astype(np.float32) * np.float32(1e30)
    with pytest.raises(DivergedError, match=r"val_loss is (nan|inf) after epoch 1"):
        fit(
            network,
            wild,
            replace(data, train=replace(data.train, images=broken)),
            seed=1,
            checkpoint=tmp_path / "c.npz",
        )


@pytest.mark.slow("imports Keras in a process of its own")
def test_the_saved_model_loads_in_a_process_without_our_code(
    tmp_path: Path, reference: Training
) -> None:
    reference.model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", sets().test.images)
    code = (
        # Imported by Keras where they are installed, for what no model needs: a third of the time.
        "import sys; sys.modules.update(dict.fromkeys(('sklearn', 'matplotlib'))); "
        "import numpy as np, keras; "
        "model = keras.saving.load_model('model.keras', safe_mode=True); "
        "assert not any(name in sys.modules for name in ('models', 'data', 'search')); "
        "np.save('out.npy', model.predict(np.load('images.npy'), verbose=0))"
    )
    subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, check=True)
    expected = keras.ops.convert_to_numpy(reference.model(sets().test.images))
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, rtol=1e-4, atol=1e-6)


def test_the_train_order_is_a_choice_that_matters(tmp_path: Path, reference: Training) -> None:
    folders = TRAINING.model_copy(update={"train_order": "folders"})
    assert curve(train(tmp_path / "c.npz", training=folders)) != curve(reference)


def test_history_as_csv_has_a_row_an_epoch() -> None:
    figures = EpochFigures(1, *range(2, 10))
    lines = to_csv([figures]).split()
    assert lines[0] == ",".join(("epoch", *(n for n in REPORTED if n not in OF_PREDICTIONS)))
    assert lines[1:] == ["1,2,3,4,5,6,7,8,9"]


@pytest.mark.parametrize("steps", [1, 3, 4, 16, 125, 299, 300, 1250])
def test_after_an_epoch_normalisation_knows_the_images(steps: int) -> None:
    momentum = compilation.norm_momentum(steps)
    assert momentum ** max(steps, 3) < 0.051
    assert (momentum == 0.99) == (steps >= 300)  # the documents' runs, as they stand
