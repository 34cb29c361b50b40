"""A delivered model as our tables hold it."""

from storage.tables import ModelRow

ROW = ModelRow(
    study="images",
    run="run",
    kind="retrain",
    title="trial 0 retrained",
    spec="{}",
    trial=0,
    parameters=1000,
    epochs=30,
    best_epoch=21,
    val_loss=0.5,
    val_accuracy=0.84,
    test_loss=0.6,
    test_accuracy=0.83,
    seconds=100.5,
    seed=1,
    path="model.keras",
    fingerprint="5f1e",
)
