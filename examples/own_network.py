"""A network of one's own, searched by treino: blocks with a shortcut, as in a ResNet.

    make search DATA=digits SPACE=examples/own_network.py:build TRIALS=10 EPOCHS=5

treino calls ``build`` for each trial. Whatever it asks its trial for is searched. Two names mean
something to the training, too: ``batch_size``, and ``learning_rate`` where the network comes
without an optimiser, as this one does.
"""

import keras
from keras import layers


def build(trial, input_shape, classes):
    """A network that takes images of ``input_shape``, 0 to 255, and tells ``classes`` apart."""
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
        # Asked for under a condition: treino finds it all the same.
        x = layers.Dropout(trial.suggest_float("dropout_rate", 0.1, 0.5))(x)
    return keras.Model(inputs, layers.Dense(classes, activation="softmax")(x))


def block(x, filters):
    """Two convolutions with a shortcut around them."""
    y = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    y = layers.Conv2D(filters, 3, padding="same")(y)
    return layers.ReLU()(layers.BatchNormalization()(layers.Add()([x, y])))
