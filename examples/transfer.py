"""Transfer learning on larger images: a pretrained backbone, frozen at first and then fine-tuned.

    make search DATA=~/pictures/birds IMAGE_SIZE=96 SPACE=examples/transfer.py:build EPOCHS=15

Copy this file and edit the constants. A study records them with the rest of the code, so each
choice of backbone and weights is a study of its own. docs/spaces.md has advice on sizes and times.
"""

import keras
from keras import layers

BACKBONE = keras.applications.MobileNetV3Small  # one that scales the pixels itself
WEIGHTS = "imagenet"  # downloaded once; or the path of a weights file; or None for random ones


def build(trial, input_shape, classes):
    """The backbone with a new head, compiled with an optimiser that thaws the backbone later."""
    trial.suggest_categorical("batch_size", [16, 32, 64])
    rate = trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)
    dropout = trial.suggest_float("dropout", 0.0, 0.6)
    backbone = BACKBONE(
        input_shape=input_shape, include_top=False, pooling="avg", weights=WEIGHTS, name="backbone"
    )
    inputs = keras.Input(input_shape)
    x = layers.Dropout(dropout)(backbone(inputs))
    outputs = layers.Dense(classes, activation="softmax", name="head")(x)
    model = keras.Model(inputs, outputs)
    if WEIGHTS is None:  # there is nothing to keep
        optimizer = keras.optimizers.Adam(rate)
    else:
        for layer in backbone.layers:  # keep the statistics of the images it was made with
            if isinstance(layer, layers.BatchNormalization):
                layer.trainable = False
        share = trial.suggest_float("fine_tuning_rate", 1e-3, 0.3, log=True)
        steps = trial.suggest_int("frozen_steps", 50, 2000, log=True)
        rates = keras.optimizers.schedules.PiecewiseConstantDecay([steps], [rate, rate * share])
        optimizer = FineTuning(rates, steps)
    model.compile(optimizer, loss="sparse_categorical_crossentropy")
    return model


@keras.saving.register_keras_serializable("transfer")
class FineTuning(keras.optimizers.Adam):
    """Adam that trains the head alone for some steps, then all layers.

    A new head's first gradients are large, and would destroy what the backbone knows. That is why
    the backbone waits, and why the rate is lower once it learns.

    Args:
        learning_rate: A rate, or a schedule.
        frozen_steps: Number of steps in which the backbone does not change.
        arguments: Other arguments of Adam.
    """

    def __init__(self, learning_rate=0.001, frozen_steps=500, **arguments):
        super().__init__(learning_rate, **arguments)
        self.frozen_steps = frozen_steps

    def apply(self, grads, trainable_variables=None):
        """Update the variables; a gradient of zero changes nothing."""
        thawed = self.iterations >= self.frozen_steps
        grads = [
            grad
            if variable.path.startswith("head/")
            else keras.ops.where(thawed, grad, keras.ops.zeros_like(grad))
            for grad, variable in zip(grads, trainable_variables, strict=True)
        ]
        super().apply(grads, trainable_variables)

    def get_config(self):
        """What a copy is made from."""
        return {**super().get_config(), "frozen_steps": self.frozen_steps}
