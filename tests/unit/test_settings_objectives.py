"""Which objectives a search accepts, and with which other settings."""

from typing import Any

import pytest

from search.errors import SettingsError
from search.settings import Settings

TWO = ("val_loss", "parameters")


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({"objectives": ("val_loss", "params")}, "expected val_loss, the monitored figure, then"),
        ({"objectives": ("parameters",)}, "expected val_loss"),
        ({"objectives": (*TWO, "operations")}, "then parameters, operations or latency"),
        ({"objectives": TWO, "monitor": "val_auc"}, "expected val_auc, the monitored figure"),
        ({"sampler": "tpe"}, "expected --sampler gp, not tpe"),
        ({"pruner": "median"}, "expected --pruner promote, not median"),
        ({"stop_when_flat": True}, "expected no --stop-when-flat"),
        ({"audit": 3}, "expected no --audit"),
    ],
)
def test_what_does_not_go_with_two_objectives_is_refused(others: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings(**{"objectives": TWO, **others})
    (line,) = str(refused.value).splitlines()
    assert line.startswith("--objectives ")
    assert said in line


def test_the_size_is_what_follows_the_monitored_figure() -> None:
    assert Settings().size == ""
    assert Settings(objectives=("val_loss",)).size == ""
    assert Settings(objectives=TWO).size == "parameters"
    assert Settings(objectives=("val_auc", "operations"), monitor="val_auc").size == "operations"
