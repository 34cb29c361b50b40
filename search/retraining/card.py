"""The card of a delivered model, in Markdown."""

import json
import re
from collections.abc import Sequence

from data.dataset import Dataset
from models.documented import BEST_TEST_ACCURACY
from models.history import OF_PREDICTIONS, told_objective
from search.console.terminal import printable
from search.console.text import duration, plural
from search.intervals import told_share
from search.retraining.comparison import Report
from search.retraining.ensemble_summary import section
from search.study.ensemble_record import EnsembleRecord
from search.study.evaluation_record import read
from storage.files import RunFiles
from storage.tables import ModelRow

_MEANING = re.compile(r"[\\`*_{}\[\]<>|~&$]")


def plain(text: str) -> str:
    """Escape outside text for Markdown: no markup, no HTML, one line."""
    return _MEANING.sub(lambda match: f"\\{match[0]}", printable(text))


def card(
    report: Report,
    verdict: Sequence[str],
    data: Dataset,
    files: RunFiles,
    *,
    model: ModelRow,
    ensemble: EnsembleRecord | None = None,
    cifar10: bool,
) -> str:
    """Write the card of the delivered model.

    Args:
        report: The comparison that it was chosen from.
        verdict: Results of the comparison, one per line.
        data: The images it was trained and tested on.
        files: The model's files.
        model: The model: the best single one, or the ensemble.
        ensemble: The ensemble beside the best single model, if the user wanted one.
        cifar10: Whether these are the images of the documents' figures.
    """
    averaged = model.kind == "ensemble"
    documented = f"| the report's best run | {BEST_TEST_ACCURACY} |\n" if cifar10 else ""
    epoch = "" if averaged else f", at epoch {model.best_epoch} of {model.epochs}"
    value = getattr(model, report.monitor) if report.monitor in OF_PREDICTIONS else None
    watched = "" if value is None else f"| {report.monitor} | {value:.4f} |\n"
    curves = "" if averaged else f"![curves]({files.curves.name})\n"
    return f"""# {plain(model.title)}, study {plain(model.study)}

| | |
|---|---|
| test accuracy | {told_share(model.test_accuracy, len(data.test.labels))} |
{documented}| test loss | {model.test_loss:.4f} |
| validation accuracy | {model.val_accuracy:.4f} |
{watched}| validation loss | {model.val_loss:.4f}{epoch} |
| parameters | {model.parameters:,} |
| training | {plural(len(data.train.labels), "image")}, {duration(model.seconds)} |
| images | {plain(data.name)}: {plain(data.source)} |
| classes | {", ".join(map(plain, data.classes))} |

{curves}![confusion]({files.confusion.name})
![mistakes]({files.mistakes.name})
{_classes(files, model)}{_compared(report, verdict)}{section(ensemble) if ensemble else ""}
The model takes raw images, (n, {", ".join(map(str, data.input_shape))}) with values 0 to 255, and
returns the probabilities of the classes in the order above:

```python
import keras

model = keras.saving.load_model("{files.model.name}", safe_mode=True)
probabilities = model.predict(images)
```
{own_network(model)}
{_files_beside(files, averaged=averaged)}
"""


def _classes(files: RunFiles, model: ModelRow) -> str:
    """Precision, recall and F1 of each class on the test images; empty if they are not stored."""
    tested = read(files, model.test_accuracy)
    if tested is None:
        return ""
    rows = "".join(
        f"| {plain(name)} | {' | '.join(figures)} |\n" for name, *figures in tested.class_rows()
    )
    return f"""
| class | test images | precision | recall | F1 |
|---|---|---|---|---|
{rows}"""


def _files_beside(files: RunFiles, *, averaged: bool) -> str:
    """What the files beside a model hold."""
    if averaged:
        return (
            f"[{files.spec.name}]({files.spec.name}) has the members and the versions. Each "
            "member's own files\nare in the study's folder `runs`."
        )
    return (
        f"[{files.spec.name}]({files.spec.name}) has the network, the training and the versions;\n"
        f"[{files.history.name}]({files.history.name}) has the figures of every epoch."
    )


def own_network(row: ModelRow) -> str:
    """How a user's own network was trained and is loaded; empty for other networks.

    For an ensemble, only how it is loaded.
    """
    spec = json.loads(row.spec)
    own = spec.get("own_network")
    if row.kind == "ensemble":
        needed = _needed(spec["ensemble"]["custom_objects"])
        return f"\n{needed}\n" if needed else ""
    if not own:
        return ""
    rate = own["optimizer"]["config"].get("learning_rate")
    schedule = rate
    if isinstance(rate, dict):
        schedule = rate.get("class_name")
    elif isinstance(rate, int | float):
        schedule = f"{rate:g}"
    smoothing = own["label_smoothing"]
    lines = [
        f"It was trained with {plain(own['optimizer']['name'])}"
        + ("" if schedule is None else f" (learning rate {plain(str(schedule))})")
        + f", the loss {plain(own['loss'])}"
        + (f" with label smoothing {smoothing}" if smoothing else "")
        + f" and the dtype policy {plain(own['dtype_policy'])}.",
    ]
    if own["custom_objects"]:
        lines.append(_needed(own["custom_objects"]))
    return "\n" + "\n".join(lines) + "\n"


def _needed(custom_objects: Sequence[str]) -> str:
    """What has to be imported to load a model; empty if it needs only Keras."""
    if not custom_objects:
        return ""
    names = ", ".join(map(plain, custom_objects))
    return f"It needs code outside Keras: import what registers {names} before loading it."


def _compared(report: Report, verdict: Sequence[str]) -> str:
    """The models that it was chosen from; empty if it was the only one."""
    if len(report.configurations) == report.configurations[0].seeds == 1 and not report.failures:
        return ""
    rows = "".join(
        f"| {row.trial} | {told_objective(row.search_loss, report.monitor, name=False)} "
        f"| {row.search_rank} | {row.rank} | {row.seeds} "
        f"| {row.val_loss} | {row.val_accuracy} | {row.test_accuracy} |\n"
        for row in report.configurations
    )
    lines = "".join(f"- {plain(line)}\n" for line in verdict)
    chosen = "validation loss" if report.monitor == "val_loss" else report.monitor
    return f"""
Chosen by {chosen} among these trials, each trained in full; mean ± standard deviation over
seeds:

| trial | search | search rank | rank | seeds | val_loss | val_accuracy | test_accuracy |
|---|---|---|---|---|---|---|---|
{rows}
{lines}"""
