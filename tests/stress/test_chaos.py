"""The short version of ``make chaos``: a search under fire ends as one in peace."""

from pathlib import Path

import pytest

from benchmarks.chaos import SCENES, ordeal


@pytest.mark.timeout(900)  # every kill costs a start of TensorFlow
def test_a_search_under_fire_ends_as_one_in_peace(tmp_path: Path) -> None:
    result = ordeal(
        SCENES[2], tmp_path, trials=3, epochs=6, tuner_kills=1, every=(5.0, 8.0), seed=1
    )
    assert result.worker_kills + result.tuner_kills > 0
    assert result.kept, str(result)
