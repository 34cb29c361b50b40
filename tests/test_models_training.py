"""Training for real, on tiny images: what it reports, what it keeps, how it goes on."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from models.checkpoint import Checkpoint, CheckpointError, load_newest, previous
from models.history import REPORTED, EpochFigures, best_epoch, to_csv
from models.pipeline import epoch_order
from models.spec import Block, Dense, EarlyStopping, ModelSpec, ReduceLROnPlateau, TrainingSpec
from models.training import DivergedError, Training, evaluate, fit
from tests.pictures import sets

NETWORK = ModelSpec(
    blocks=(Block(filters=4, dropout=0.2, l2=0.001),), dense=Dense(units=8, dropout=0.3)
)
TRAINING = TrainingSpec(batch_size=16, epochs=4, learning_rate=0.01)


class StopAfter(keras.callbacks.Callback):
    def __init__(self, epoch: int) -> None:
        super().__init__()
        self._epoch = epoch

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        if epoch + 1 == self._epoch:
            self.model.stop_training = True


class Kill(keras.callbacks.Callback):
    """Breaks the training off in the middle of an epoch, as a crash would."""

    def on_train_batch_end(self, batch: int, logs=None) -> None:
        if self.epoch == 2 and batch == 3:
            raise KeyboardInterrupt

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        self.epoch = epoch


def train(
    checkpoint: Path,
    network: ModelSpec = NETWORK,
    training: TrainingSpec = TRAINING,
    callbacks: tuple[keras.callbacks.Callback, ...] = (),
    seed: int = 3,
) -> Training:
    return fit(network, training, sets(), seed=seed, checkpoint=checkpoint, callbacks=callbacks)


def curve(trained: Training) -> list[dict[str, float]]:
    """The figures but for the time they took."""
    return [{**f.to_dict(), "seconds": 0.0} for f in trained.history]


def test_training_learns_and_hands_over_the_best_epoch(tmp_path: Path) -> None:
    # Batch normalisation needs more steps than these to know the images' mean.
    plain = ModelSpec(
        blocks=(Block(filters=4, batch_norm=False, dropout=0.2),),
        dense=Dense(units=8, batch_norm=False),
    )
    training = TRAINING.model_copy(update={"epochs": 12})
    trained = train(tmp_path / "c.npz", network=plain, training=training)
    assert len(trained.history) == 12
    assert trained.best.val_accuracy > 0.8  # three classes: chance is 0.33
    assert trained.best == best_epoch(trained.history)
    again = evaluate(trained.model, sets().validation)
    assert again.loss == pytest.approx(trained.best.val_loss, rel=1e-4)
    assert again.accuracy == pytest.approx(trained.best.val_accuracy)
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


def test_without_a_penalty_both_losses_are_the_same(tmp_path: Path) -> None:
    plain = ModelSpec(blocks=(Block(filters=4),), dense=Dense(units=8))
    for figures in train(tmp_path / "c.npz", network=plain).history:
        assert figures.penalised_loss == pytest.approx(figures.loss, rel=1e-5)
        assert figures.penalised_val_loss == figures.val_loss


def test_the_same_seed_gives_the_same_curve_and_another_another(tmp_path: Path) -> None:
    first = train(tmp_path / "1.npz")
    assert curve(train(tmp_path / "2.npz")) == curve(first)
    assert curve(train(tmp_path / "3.npz", seed=4)) != curve(first)


@pytest.mark.parametrize("stop", [StopAfter(1), StopAfter(3), Kill()], ids=["1", "3", "killed"])
def test_a_training_taken_up_again_has_the_curve_of_one_that_ran_through(
    tmp_path: Path, stop: keras.callbacks.Callback
) -> None:
    # Both callbacks that steer have something to remember across the break.
    training = TrainingSpec(
        batch_size=16,
        epochs=6,
        learning_rate=0.05,
        early_stopping=EarlyStopping(patience=3),
        reduce_lr=ReduceLROnPlateau(patience=1, factor=0.5),
    )
    through = train(tmp_path / "through.npz", training=training)
    if isinstance(stop, Kill):
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "broken.npz", training=training, callbacks=(stop,))
    else:
        broken = train(tmp_path / "broken.npz", training=training, callbacks=(stop,))
        assert len(broken.history) < len(through.history)
    resumed = train(tmp_path / "broken.npz", training=training)
    assert curve(resumed) == curve(through)
    assert len({f.learning_rate for f in through.history}) > 1
    for mine, other in zip(resumed.model.get_weights(), through.model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)


def test_a_finished_training_is_not_trained_again(tmp_path: Path) -> None:
    first = train(tmp_path / "c.npz")
    told = []
    again = fit(
        NETWORK,
        TRAINING,
        sets(),
        seed=3,
        checkpoint=tmp_path / "c.npz",
        resumed=lambda history, last: told.append((len(history), last)),
    )
    assert told == [(4, True)]
    assert again.history == first.history


def test_early_stopping_ends_the_training_for_good(tmp_path: Path) -> None:
    training = TrainingSpec(
        batch_size=16, epochs=40, learning_rate=0.2, early_stopping=EarlyStopping(patience=2)
    )
    first = train(tmp_path / "c.npz", training=training)
    assert len(first.history) < 40
    assert first.best.epoch == len(first.history) - 2
    assert train(tmp_path / "c.npz", training=training).history == first.history


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path) -> None:
    through = train(tmp_path / "through.npz")
    path = tmp_path / "c.npz"
    train(path, callbacks=(StopAfter(3),))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    newest = load_newest(path)
    assert newest is not None
    assert newest.epoch == 2
    assert curve(train(path)) == curve(through)


def test_without_a_whole_checkpoint_training_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    path.write_bytes(b"PK\x03\x04 no checkpoint")
    previous(path).write_bytes(b"")
    assert load_newest(path) is None
    assert len(train(path).history) == 4


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    train(tmp_path / "c.npz", callbacks=(StopAfter(1),))
    other = ModelSpec(blocks=(Block(filters=5),), dense=Dense(units=8))
    with pytest.raises(CheckpointError, match="another network"):
        train(tmp_path / "c.npz", network=other)


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
    broken = data.train.images.astype(np.float32) * np.float32(1e30)
    with pytest.raises(DivergedError, match=r"val_loss is (nan|inf) after epoch 1"):
        fit(
            network,
            wild,
            type(data)(type(data.train)(broken, data.train.labels, data.train.parts), *_rest(data)),
            seed=1,
            checkpoint=tmp_path / "c.npz",
        )


def test_the_saved_model_loads_in_a_process_without_our_code(tmp_path: Path) -> None:
    trained = train(tmp_path / "c.npz")
    trained.model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", sets().test.images)
    code = (
        "import sys, numpy as np, keras; "
        "model = keras.saving.load_model('model.keras', safe_mode=True); "
        "assert not any(name in sys.modules for name in ('models', 'data', 'search')); "
        "np.save('out.npy', model.predict(np.load('images.npy'), verbose=0))"
    )
    subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, check=True)
    expected = keras.ops.convert_to_numpy(trained.model(sets().test.images))
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, rtol=1e-4, atol=1e-6)


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


def test_the_train_order_is_a_choice_that_matters(tmp_path: Path) -> None:
    folders = TRAINING.model_copy(update={"train_order": "folders"})
    one = train(tmp_path / "1.npz", training=folders)
    other = train(tmp_path / "2.npz")
    assert curve(one) != curve(other)


def test_history_as_csv_has_a_row_an_epoch() -> None:
    figures = EpochFigures(1, *range(2, 10))
    lines = to_csv([figures]).split()
    assert lines[0] == ",".join(("epoch", *REPORTED))
    assert lines[1:] == ["1,2,3,4,5,6,7,8,9"]


def _rest(data):
    return data.validation, data.test
