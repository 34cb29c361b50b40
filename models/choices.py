"""The values of settings of a training that are chosen from a few."""

from typing import Literal

Monitor = Literal["val_loss", "val_accuracy", "val_macro_f1", "val_auc"]
"""Figures of the validation images that a training can be selected by."""

ClassWeights = Literal["none", "balanced"]
Precision = Literal["float32", "bfloat16"]
TrainOrder = Literal["together", "folders"]
