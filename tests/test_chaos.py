"""The short version of ``make chaos``: a search under fire loses nothing.

That its curves are those of a search in peace is asked by ``make chaos`` itself, and of kills at
chosen moments by test_search_cli.py: see the known gap in docs/decisions/0006-faults.md.
"""

from pathlib import Path

from benchmarks.chaos import SCENES, ordeal


def test_a_search_under_fire_loses_nothing(tmp_path: Path) -> None:
    result = ordeal(
        SCENES[1], tmp_path, trials=3, epochs=6, tuner_kills=1, every=(5.0, 8.0), seed=1
    )
    assert result.worker_kills + result.tuner_kills > 0
    assert (result.lost, result.limbo, result.trained_twice) == (0, 0, 0), str(result)
