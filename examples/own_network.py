"""A custom network, searched by treino: residual blocks, as in a ResNet.

    make search DATA=digits SPACE=examples/own_network.py:build TRIALS=10 EPOCHS=5

treino calls ``build`` for each trial. Every parameter that ``build`` requests from its trial is
searched. Two names also affect the training: ``batch_size``, and ``learning_rate`` if the network
has no optimiser, like this one.
"""

import keras
from keras import layers


def build(trial, input_shape, classes):
    """A network for images of ``input_shape``, values 0 to 255, with ``classes`` outputs."""
    trial.suggest_categorical("batch_size", [32, 64])
    trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)
    filters = trial.suggest_int("filters", 8, 32, step=8)
    inputs = keras.Input(input_shape)
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    for _ in range(trial.suggest_int("blocks", 1, 3)):
        x = block(x, filters)
    x = layers.GlobalAveragePooling2D()(x)
    if trial.suggest_categorical("dropout", [True, False]):
        # Requested under a condition: treino finds it nevertheless.
        x = layers.Dropout(trial.suggest_float("dropout_rate", 0.1, 0.5))(x)
    return keras.Model(inputs, layers.Dense(classes, activation="softmax")(x))


def block(x, filters):
    """Two convolutions with a shortcut around them."""
    y = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    y = layers.Conv2D(filters, 3, padding="same")(y)
    return layers.ReLU()(layers.BatchNormalization()(layers.Add()([x, y])))
