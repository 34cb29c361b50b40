"""Networks of the user's own: found out, built, trained and resumed as treino's are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from models.own_classifier import network
from models.own_errors import CodeChangedError, OwnCodeError
from models.own_network import OwnCode, build, load
from models.own_ranges import RANGES, Choice, Real, Whole
from models.own_trial import OwnTrial, UnknownParameterError, explore, given
from models.own_view import check_loadable, scales
from models.spec import OwnSpec, TrainingSpec, count_parameters, estimate_memory
from models.training import fit
from tests.support.pictures import sets

SHAPE = (8, 8, 3)
HEAD = "import keras\nfrom keras import layers\n"
SOFTMAX = HEAD + (
    "def build(trial, input_shape, classes):\n"
    "    inputs = keras.Input(input_shape)\n"
    "    x = layers.Rescaling(1 / 255)(inputs)\n"
    "    x = layers.Flatten()(x)\n"
    "    x = layers.Dense(trial.suggest_int('units', 4, 8), activation='relu',\n"
    "                     kernel_regularizer='l2')(x)\n"
    "    x = layers.Dropout(0.2)(x)\n"
    "    return keras.Model(inputs, layers.Dense(classes, activation='softmax')(x))\n"
)


def written(folder: Path, text: str, name: str = "net.py") -> OwnCode:
    (folder / name).write_text(text)
    return load(f"{folder / name}:build")


def spec_of(code: OwnCode, **params: Any) -> OwnSpec:
    return OwnSpec(code=code.reference, digest=code.digest, params=params)


def test_every_parameter_is_found_under_whatever_condition() -> None:
    def function(trial: OwnTrial) -> None:
        for n in range(trial.suggest_int("layers", 1, 3)):
            trial.suggest_int(f"units_{n}", 32, 512, step=32)
        if trial.suggest_categorical("head", ["average", "dense", None]) == "dense":
            rate = trial.suggest_float("rate", 1e-4, 1.0, log=True)
            if rate >= 1 and trial.suggest_float("share", 0, 0.5, step=0.1) > 0.45:
                trial.suggest_categorical("deep", [True, 1.5])

    for seed in range(20):
        found = explore(function, seed)
        assert set(found) == {
            *("layers", "units_0", "units_1", "units_2"),
            *("head", "rate", "share", "deep"),
        }
    assert found["units_2"] == Whole(low=32, high=512, step=32)
    assert found["rate"] == Real(low=1e-4, high=1.0, log=True)
    assert found["deep"] == Choice(choices=(True, 1.5))
    assert RANGES.validate_json(RANGES.dump_json(found)) == found


def test_what_is_drawn_lies_in_its_range() -> None:
    drawn: dict[str, set[Any]] = {"whole": set(), "real": set(), "log": set()}

    def function(trial: OwnTrial) -> None:
        drawn["whole"].add(trial.suggest_int("whole", 3, 120, step=10))
        drawn["real"].add(trial.suggest_float("real", 0, 1, step=0.3))
        drawn["log"].add(trial.suggest_float("log", 1e-3, 10, log=True))

    explore(function)
    assert drawn["whole"] <= set(range(3, 114, 10))
    assert {round(value / 0.3, 6) for value in drawn["real"]} <= {0.0, 1.0, 2.0, 3.0}
    assert all(1e-3 <= value <= 10 for value in drawn["log"])
    assert {3, 113} <= drawn["whole"]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda t: t.suggest_int("n", 3, 1), "'n': low 3 is more than high 1"),
        (lambda t: t.suggest_int("n", 1, 2.5), "'n': expected a whole number, not 2.5"),
        (lambda t: t.suggest_int("n", 1, 8, step=2, log=True), "'n': log goes with step=1"),
        (lambda t: t.suggest_float("x", 0, 1, log=True), "'x': a logarithmic range starts above 0"),
        (lambda t: t.suggest_float("x", 0, 1, step=0), "'x': expected a step of more than 0"),
        (lambda t: t.suggest_float("x", 0, float("inf")), "'x': expected a number, not inf"),
        (lambda t: t.suggest_categorical("c", []), "'c': expected choices that are texts"),
        (lambda t: t.suggest_categorical("c", [(1, 2)]), "'c': expected choices that are texts"),
        (
            lambda t: (t.suggest_int("n", 1, 2), t.suggest_int("n", 1, 3)),
            "'n': 1 to 2 before, 1 to 3 now",
        ),
        (
            lambda t: t.suggest_int("n", 1, 1 + t.suggest_int("m", 1, 2)),
            "'n': 1 to 2 in one call, 1 to 3 in another",
        ),
    ],
)
def test_what_is_no_range_is_refused(call: Callable[[OwnTrial], None], said: str) -> None:
    with pytest.raises(ValueError, match=r".*") as caught:
        explore(call)
    assert said in str(caught.value)


def test_a_trial_gives_what_it_was_given_and_nothing_else() -> None:
    trial = given({"n": 3})
    assert trial.suggest_int("n", 1, 4) == 3
    assert trial.suggest_int("n", 1, 4) == 3
    with pytest.raises(UnknownParameterError, match="'m' was never asked for"):
        trial.suggest_int("m", 1, 4)
    with pytest.raises(AttributeError, match="no 'report': it gives values by suggest_int"):
        trial.report(0.1, 1)


def test_the_network_is_the_users_and_takes_raw_images(tmp_path: Path) -> None:
    spec = spec_of(written(tmp_path, SOFTMAX), units=5)
    assert OwnSpec.from_json(spec.to_json()) == spec
    own = build(spec, SHAPE, 3)
    built = own.model
    assert own.optimizer is None
    assert built.count_params() == (192 + 1) * 5 + (5 + 1) * 3
    assert not built.compiled
    assert own.scales
    probabilities = built.predict(np.full((2, *SHAPE), 255, np.uint8), verbose=0)
    assert probabilities.sum(axis=1) == pytest.approx([1, 1], abs=1e-5)
    # Nothing is known of it without building it.
    assert count_parameters(spec, SHAPE, 3) == estimate_memory(spec, SHAPE, 3, 32) == 0


def straight(*more: layers.Layer) -> keras.Model:
    return keras.Sequential([layers.Flatten(), layers.Dense(3), *more])


def test_logits_become_probabilities() -> None:
    logits = straight()
    plain = network(logits, SHAPE, 3).model
    images = np.random.default_rng(1).integers(0, 256, (5, *SHAPE)).astype(np.float32)
    expected = keras.ops.softmax(logits(images))
    assert np.allclose(plain(images), expected, atol=1e-6)
    logits.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert np.allclose(network(logits, SHAPE, 3).model(images), expected, atol=1e-6)
    already = straight(layers.Softmax())
    assert np.allclose(network(already, SHAPE, 3).model(images), already(images), atol=1e-6)


def test_the_optimiser_of_a_compiled_network_is_the_one_it_trains_with() -> None:
    model = straight(layers.Softmax())
    model.compile(keras.optimizers.SGD(0.25, momentum=0.5), "sparse_categorical_crossentropy")
    optimizer = network(model, SHAPE, 3).optimizer
    assert optimizer is model.optimizer
    optimizer.build(model.trainable_variables)  # as training did for a network before
    another = network(model, SHAPE, 3).optimizer
    assert another is not optimizer
    assert isinstance(another, keras.optimizers.SGD)
    assert another.get_config() == optimizer.get_config()


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        ("mse", "compiled with the loss 'mean_squared_error': expected a cross-entropy"),
        (keras.losses.poisson, "compiled with the loss 'poisson': expected"),
        ("sparse_categorical_crossentropy", "returns no probabilities: end it with softmax"),
    ],
)
def test_a_loss_that_a_study_does_not_minimise_is_refused(loss: object, said: str) -> None:
    model = straight()
    model.compile(loss=loss)
    with pytest.raises(OwnCodeError, match=said):
        network(model, SHAPE, 3)


def test_a_network_that_is_no_classifier_of_these_images_is_refused() -> None:
    with pytest.raises(OwnCodeError, match=r"shape \(None, 4\), expected \(None, 3\).*use classes"):
        network(straight(layers.Dense(4)), SHAPE, 3)
    narrow = keras.Sequential([keras.Input((28, 28, 4)), layers.Flatten(), layers.Dense(3)])
    with pytest.raises(OwnCodeError, match="takes 28x28x4 images, the images are 8x8x3: use"):
        network(narrow, SHAPE, 3)


def test_whether_a_network_scales_its_images_is_seen() -> None:
    inputs = keras.Input(SHAPE)
    divided = keras.Model(inputs, layers.Flatten()(inputs / 255))
    assert network(straight(layers.Softmax()), SHAPE, 3).scales is False
    assert scales(divided)
    assert scales(keras.Sequential([divided, layers.Dense(3)]))


def test_a_network_that_nobody_could_load_again_is_refused() -> None:
    class Own(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs

    for layer in (Own(), layers.Lambda(lambda x: x)):
        with pytest.raises(OwnCodeError, match=r"cannot be saved and loaded again: .*register"):
            check_loadable(straight(layer))
    check_loadable(straight(keras.saving.register_keras_serializable("tests")(Own)()))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def build(:\n", "net.py:1: def build(:: SyntaxError: invalid syntax"),
        ("import nowhere\n", "net.py:1 in <module>: import nowhere: ModuleNotFoundError"),
        ("other = 3\n", "net.py has no function 'build'"),
        ("raise SystemExit(3)\n", "net.py:1 in <module>: raise SystemExit(3): SystemExit: 3"),
        ("open('none')\n", "net.py:1 in <module>: open('none'): FileNotFoundError"),
    ],
)
def test_a_file_that_does_not_run_is_told_by_its_lines(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(OwnCodeError) as caught:
        written(tmp_path, text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(OwnCodeError, match=r"none\.py: No such file"):
        load(f"{tmp_path}/none.py:build")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            "def build(t):\n    f(t.suggest_int('n', -2, 2))\ndef f(n):\n    layers.Conv2D(n, 3)\n",
            "4 in build: f(t.suggest_int('n', -2, 2)) > net.py:6 in f: layers.Conv2D(n, 3): Value",
        ),
        ("def build(t, shape, n):\n    return 3\n", "returned int, expected a keras.Model"),
        ("def build(a, b):\n    return 3\n", "expected build(trial, input_shape, classes) or"),
        ("def build(t):\n    t.report(1, 2)\n", "net.py:4 in build: t.report(1, 2): Attribute"),
    ],
)
def test_a_function_that_does_not_build_is_told_by_its_lines(
    tmp_path: Path, body: str, said: str
) -> None:
    code = written(tmp_path, HEAD + body)
    with pytest.raises(OwnCodeError) as caught:
        explore(lambda trial: _ignore(code.build(trial, SHAPE, 3)))
    assert said in str(caught.value)
    assert "own_network.py" not in str(caught.value)
    if "Conv2D" in body:
        assert str(caught.value).endswith("(with n=-2)")


def _ignore(_: object) -> None:
    """An expression as a statement."""


def test_the_digest_is_that_of_the_file_and_of_what_it_imports_beside_it(tmp_path: Path) -> None:
    digests = []
    for folder, helper in (("a", "UNITS = 4\n"), ("b", "UNITS = 4\n"), ("c", "UNITS = 5\n")):
        (tmp_path / folder).mkdir()
        name = f"helper_{folder}"
        (tmp_path / folder / f"{name}.py").write_text(helper)
        digests.append(written(tmp_path / folder, f"import {name}\n{SOFTMAX}").digest)
    assert len(set(digests)) == 3  # other names, other content
    same = [tmp_path / "d", tmp_path / "e"]
    for place in same:
        place.mkdir()
    assert written(same[0], SOFTMAX).digest == written(same[1], SOFTMAX).digest


def test_other_code_than_the_studys_is_not_run(tmp_path: Path) -> None:
    code = written(tmp_path, SOFTMAX)
    other = OwnSpec(code=code.reference, digest="0123456789abcdef", params={"units": 5})
    with pytest.raises(CodeChangedError, match="is not what the study was made with"):
        build(other, SHAPE, 3)


class Break(keras.callbacks.Callback):
    """Breaks a training off after an epoch."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.model.stop_training = True


def test_a_training_broken_off_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    # Optimisers of the user's own: tests/integration/test_models_own_training.py.
    spec = spec_of(written(tmp_path, SOFTMAX), units=6)
    training = TrainingSpec(batch_size=16, epochs=3)
    straight_on = fit(spec, training, sets(), seed=5, checkpoint=tmp_path / "a.npz")
    counted: list[int] = []
    fit(
        spec,
        training,
        sets(),
        seed=5,
        checkpoint=tmp_path / "b.npz",
        built=lambda network, _own: counted.append(network.count_params()),
        callbacks=[Break()],
    )
    resumed = fit(spec, training, sets(), seed=5, checkpoint=tmp_path / "b.npz")
    assert counted == [(192 + 1) * 6 + (6 + 1) * 3]
    for first, second in zip(straight_on.history, resumed.history, strict=True):
        assert (first.loss, first.val_loss) == (second.loss, second.val_loss)
    assert all(e.penalised_loss > e.loss for e in resumed.history)
    assert resumed.history[0].learning_rate == pytest.approx(0.001)
    for first, second in zip(
        straight_on.model.get_weights(), resumed.model.get_weights(), strict=True
    ):
        assert np.array_equal(first, second)
    resumed.model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    images = sets().test.images
    assert np.allclose(loaded.predict(images, verbose=0), resumed.model.predict(images, verbose=0))


def test_a_schedule_of_the_users_keeps_its_rate(tmp_path: Path) -> None:
    rate = "keras.optimizers.schedules.ExponentialDecay(0.1, 6, 0.5, staircase=True)"
    text = SOFTMAX.replace("return keras.Model", "model = keras.Model")
    code = written(
        tmp_path, f"{text}    model.compile(keras.optimizers.SGD({rate}))\n    return model\n"
    )
    training = TrainingSpec(batch_size=16, epochs=3, reduce_lr={"patience": 1})  # type: ignore[arg-type]
    trained = fit(spec_of(code, units=4), training, sets(), seed=1, checkpoint=tmp_path / "c.npz")
    rates = [epoch.learning_rate for epoch in trained.history]
    assert rates == pytest.approx([0.1, 0.05, 0.025])
