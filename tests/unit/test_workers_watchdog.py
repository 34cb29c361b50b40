"""Which workers hang, on a clock of the test's own."""

import pytest

from search.clock import LONGEST_TURN, Clock
from search.workers.watchdog import Watchdog


class Time:
    """A clock that the test moves on, turn by turn of a loop that reads it."""

    def __init__(self, *, times: float = 20, least: float = 60) -> None:
        self.moment = 1000.0
        self.clock = Clock(lambda: self.moment)
        self.watchdog = Watchdog(times, least, self.clock)

    def passes(self, seconds: float) -> dict[int, str]:
        """The loop turns for so long; returns which slots it finds hanging."""
        hung = {}
        for _ in range(int(seconds)):
            self.moment += 1
            hung.update(self.watchdog.hung())
        self.moment += seconds - int(seconds)
        return hung | self.watchdog.hung()

    def is_suspended(self, seconds: float) -> dict[int, str]:
        self.moment += seconds
        return self.watchdog.hung()


def test_a_slot_is_hung_when_it_is_silent_many_times_its_longest_epoch() -> None:
    time = Time(times=10, least=5)
    watchdog = time.watchdog
    watchdog.started(0)
    watchdog.started(1)
    time.passes(4)
    watchdog.epoch_ended(0, seconds=2)
    watchdog.epoch_ended(1, seconds=0.1)
    time.passes(1)
    watchdog.epoch_ended(0, seconds=1)
    assert time.passes(4) == {}
    assert set(time.passes(0.25)) == {1}  # the least time counts for short epochs
    time.watchdog.ended(1)
    assert time.passes(15.75) == {}
    hung = time.passes(0.25)
    assert "silent for 20 s, while its longest epoch took 2.0 s" in hung[0]


def test_a_silence_is_reported_once_and_its_worker_may_still_speak() -> None:
    time = Time(times=10, least=5)
    time.watchdog.started(0)
    time.watchdog.epoch_ended(0, seconds=1)
    assert set(time.passes(11)) == {0}
    assert time.passes(9) == {}
    assert time.watchdog.epoch_ended(0, seconds=2) == 2  # sent before it was killed
    assert time.passes(20) == {}
    assert set(time.passes(1)) == {0}
    assert set(time.passes(21)) == {0}  # silent anew: the first kill has not reached it


def test_nothing_is_said_of_a_job_before_its_first_epoch_or_after_its_end() -> None:
    time = Time(times=2, least=1)
    time.watchdog.started(0)
    time.passes(1)
    time.watchdog.resumed(0, longest=0)
    assert time.passes(1000) == {}
    time.watchdog.epoch_ended(0, seconds=1)
    time.watchdog.ended(0)
    assert time.passes(1000) == {}


def test_epochs_before_a_job_count_as_its_own() -> None:
    time = Time(times=2, least=1)
    time.watchdog.started(0)
    time.watchdog.resumed(0, longest=30)
    assert time.passes(60) == {}
    assert set(time.passes(1)) == {0}


@pytest.mark.parametrize("length", [75, 3600, 10**6])
def test_what_is_suspended_along_with_the_tuner_is_not_hung(length: float) -> None:
    time = Time()
    time.watchdog.started(0)
    time.passes(2)
    time.watchdog.epoch_ended(0, seconds=2)
    for _ in range(3):
        assert time.is_suspended(length) == {}
        assert time.passes(5) == {}
    # What does not go on afterwards hangs as it would have without.
    assert set(time.passes(60)) == {0}


def test_suspension_counts_neither_for_an_epoch_nor_for_the_run() -> None:
    time = Time()
    began = time.clock()
    time.watchdog.started(0)
    time.passes(15)
    time.is_suspended(3600)
    time.passes(5)
    ran = time.watchdog.epoch_ended(0, seconds=3620)
    assert ran == pytest.approx(20 + LONGEST_TURN)
    assert time.clock() - began == pytest.approx(20 + LONGEST_TURN)
    time.passes(8)
    assert time.watchdog.epoch_ended(0, seconds=8) == 8  # of the suspension before it, nothing
    assert time.passes(20 * ran) == {}
    assert set(time.passes(1)) == {0}


def test_a_worker_stopped_alone_hangs_and_a_slow_turn_of_the_loop_takes_nobodys_time() -> None:
    time = Time(times=2, least=20)
    time.watchdog.started(0)
    time.watchdog.epoch_ended(0, seconds=LONGEST_TURN / 2)
    time.is_suspended(15)  # the tuner alone, waiting for its database
    assert time.watchdog.epoch_ended(0, seconds=3) == 3
    assert set(time.passes(21)) == {0}
