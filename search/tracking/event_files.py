"""Event files for TensorBoard, with the hyperparameters of each trial.

The content of a trial's file follows from the study alone. So a file that is too short, because a
tracker was killed or switched on late, is continued where it ends, and nothing is written twice.
TensorFlow is not imported.
"""

import io
from collections.abc import Sequence
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import (
    HParamsPluginData,
    SessionEndInfo,
    SessionStartInfo,
)
from tensorboard.summary.writer.record_writer import RecordWriter

from search.tracking.tracked import TrackedTrial, Tracker
from storage.files import write_atomically

FILE = "events.out.tfevents.treino"


class EventFiles(Tracker):
    """A folder that TensorBoard shows, with a run per trial."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def send(self, trial: TrackedTrial) -> None:
        """Write the trial's file, or continue it."""
        _write(self._folder / trial.run / FILE, _records(_events(trial)))


def _write(file: Path, content: bytes) -> None:
    before = file.read_bytes() if file.exists() else b""
    if before and content.startswith(before):  # TensorBoard goes on reading the file it has open
        with file.open("ab") as end:
            end.write(content[len(before) :])
    else:
        write_atomically(file, content)


def _records(events: Sequence[Event]) -> bytes:
    """The content of an event file."""
    file = io.BytesIO()
    writer = RecordWriter(file)
    version = Event(wall_time=events[0].wall_time, file_version="brain.Event:2")
    for event in (version, *events):
        writer.write(event.SerializeToString(deterministic=True))
    return file.getvalue()


def _events(trial: TrackedTrial) -> list[Event]:
    start = trial.started.timestamp()
    session = SessionStartInfo(group_name=trial.run, start_time_secs=start)
    for name, value in sorted(trial.params.items()):
        if isinstance(value, bool):
            session.hparams[name].bool_value = value
        elif isinstance(value, int | float):
            session.hparams[name].number_value = value
        else:
            session.hparams[name].string_value = str(value)
    events = [
        _event(
            start, metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=session)
        )
    ]
    for figures, at in zip(trial.epochs, trial.times(), strict=True):
        measured = figures.measured().items()
        values = [Summary.Value(tag=name, simple_value=value) for name, value in measured]
        events.append(Event(wall_time=at, step=figures.epoch, summary=Summary(value=values)))
    if trial.over:
        failed = trial.state == "fail"
        status = api_pb2.STATUS_FAILURE if failed else api_pb2.STATUS_SUCCESS
        at = events[-1].wall_time
        end = SessionEndInfo(status=status, end_time_secs=at)
        events.append(
            _event(at, metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=end))
        )
    return events


def _event(at: float, tag: str, data: HParamsPluginData) -> Event:
    """An event of the plugin for hyperparameters."""
    value = Summary.Value(
        tag=tag, metadata=metadata.create_summary_metadata(data), tensor=metadata.NULL_TENSOR
    )
    return Event(wall_time=at, summary=Summary(value=[value]))
