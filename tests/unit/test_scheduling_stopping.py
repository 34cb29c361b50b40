"""What more epochs are likely to bring."""

from hypothesis import given
from hypothesis import strategies as st

from search.scheduling.stopping import Outlook, outlook


def test_as_much_as_the_last_stretch_of_the_same_ratio() -> None:
    lowest = [1.0] * 50 + [0.8] * 50
    assert outlook(lowest, 150, 10) == Outlook(150, 0.8, 0.8 * 0.8, 60)  # from 40 of 100
    assert outlook(lowest, 50, 10) == Outlook(50, 0.8, 0.8, 34)  # from 66 of 100


def test_nothing_is_said_before_there_is_enough_to_look_back_on() -> None:
    assert outlook([], 10, 1) is None
    assert outlook([1.0] * 30, 60, 11) is None  # it would begin after epoch 10
    assert outlook([1.0] * 30, 60, 10) is not None
    assert outlook([1.0] * 30, 0, 1) is None


def test_a_search_without_gain_is_flat() -> None:
    still = outlook([0.9] * 20 + [0.5] * 80, 20, 5)
    falling = outlook([1.0] * 90 + [0.5] * 10, 20, 5)
    assert still is not None
    assert falling is not None
    assert still.flat
    assert not falling.flat
    assert str(falling) == (
        "another hour, about 20 epochs: 0.5000 to about 0.2500, based on the last 17"
    )


@given(
    st.lists(st.floats(0.0, 1e6), min_size=1, max_size=200),
    st.integers(1, 10_000),
    st.integers(1, 50),
)
def test_it_never_gets_worse(losses: list[float], epochs: int, full: int) -> None:
    lowest = [min(losses[: n + 1]) for n in range(len(losses))]
    found = outlook(lowest, epochs, full)
    if found is not None:
        assert 0 <= found.then <= found.now == lowest[-1]
        assert 1 <= found.looked_back <= len(losses) - full
