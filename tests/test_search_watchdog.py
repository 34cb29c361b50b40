"""Which workers hang, on a clock of the test's own."""

from search.watchdog import Watchdog


def test_a_slot_is_hung_when_it_is_silent_many_times_its_longest_epoch() -> None:
    watchdog = Watchdog(times=10, least=5)
    watchdog.started(0, now=0)
    watchdog.started(1, now=0)
    watchdog.heard(0, now=4, epoch_seconds=2)
    watchdog.heard(1, now=4, epoch_seconds=0.1)
    watchdog.heard(0, now=5, epoch_seconds=1)
    assert watchdog.hung(now=9) == {}
    assert set(watchdog.hung(now=9.1)) == {1}  # the least time counts for short epochs
    assert set(watchdog.hung(now=25)) == {1}
    hung = watchdog.hung(now=25.1)
    assert "silent for 20 s, and its longest epoch took 2.0 s" in hung[0]


def test_nothing_is_said_of_a_job_before_its_first_epoch_or_after_its_end() -> None:
    watchdog = Watchdog(times=2, least=1)
    watchdog.started(0, now=0)
    watchdog.heard(0, now=1)
    assert watchdog.hung(now=10**6) == {}
    watchdog.heard(0, now=2, epoch_seconds=1)
    watchdog.ended(0)
    assert watchdog.hung(now=10**6) == {}
