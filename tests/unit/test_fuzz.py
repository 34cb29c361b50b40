"""A few of each kind of bad input; ``make chaos`` tries them by the thousand."""

import optuna

from benchmarks.fuzz import fuzz


def test_bad_input_of_every_kind_ends_in_an_error_with_a_name() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    assert fuzz(25) > 100
