"""How long the default takes to decide what to train next, after 100 and after 2,000 trials.

Part of ``make bench``. The trials are of the documents' space, with made-up curves, paused at the
rungs as a search leaves them: a third of each rung went on.
"""

import time
from dataclasses import replace
from itertools import pairwise
from statistics import median

import numpy as np
from threadpoolctl import threadpool_limits

from search.scheduling.chooser import NextTraining, ObservedTrial
from search.scheduling.prior import prior_of
from search.scheduling.rungs import ETA, next_rung, rungs
from search.scheduling.samplers import make_chooser
from search.spaces.builtin import Documents
from search.spaces.training_defaults import TrainingDefaults
from search.spaces.unit_cube import UnitCube

TRIALS = (100, 2000)
EPOCHS = 100
DECISIONS = 30
LIMIT = 0.05  # seconds
DISTRIBUTIONS = Documents(TrainingDefaults(epochs=EPOCHS), 32).distributions()
COORDINATES = UnitCube(DISTRIBUTIONS)
STEPS = rungs(EPOCHS)


def curve(point: np.ndarray) -> tuple[float, ...]:
    """Losses that fall to a floor; floor and speed are smooth in the configuration's point."""
    floor = 0.5 + float(((point - 0.4) ** 2).sum())
    speed = 0.02 + 0.3 * float(point[0])
    epochs = np.arange(1, EPOCHS + 1)
    return tuple(float(loss) for loss in floor + (2.3 - floor) * np.exp(-speed * epochs))


def history(count: int) -> list[ObservedTrial]:
    """Trials of a search that has begun so many."""
    points = COORDINATES.uniform(count, np.random.default_rng(0))
    curves = [curve(point) for point in points]
    reached = [STEPS[0]] * count
    for before, rung in pairwise(STEPS):
        there = [n for n in range(count) if reached[n] == before]
        there.sort(key=lambda n: curves[n][before - 1])
        for n in there[: len(there) // ETA]:
            reached[n] = rung
    return [
        ObservedTrial(
            number,
            COORDINATES.params(points[number]),
            curves[number][: reached[number]],
            "over" if reached[number] == EPOCHS else "paused",
        )
        for number in range(count)
    ]


def train(trials: list[ObservedTrial], choice: NextTraining) -> None:
    """Train what was chosen up to its next rung."""
    number = len(trials) if choice.number is None else choice.number
    if choice.number is None:
        trials.append(ObservedTrial(number, choice.params, (), "paused"))
    until = next_rung(STEPS, len(trials[number].losses))
    losses = curve(COORDINATES.of(choice.params))[:until]
    trials[number] = replace(
        trials[number], losses=losses, state="over" if until == EPOCHS else "paused"
    )


def main() -> None:
    """Print the seconds of decisions in a row, the first by a chooser that remembers nothing."""
    with threadpool_limits(1):  # as in a search (search/tuning/run.py)
        _measure()


def _measure() -> None:
    for count in TRIALS:
        trials = history(count)
        prior = prior_of("auto", DISTRIBUTIONS)
        chooser = make_chooser("gp", DISTRIBUTIONS, EPOCHS, 0, prior=prior)
        times = []
        for _ in range(DECISIONS):
            begun = time.perf_counter()
            choice = chooser.choose(trials, new=True)
            times.append(time.perf_counter() - begun)
            if choice is None:
                break
            train(trials, choice)
        first, *others = (1000 * seconds for seconds in times)
        print(
            f"a decision after {count:,} trials: {median(others):.0f} ms, the slowest "
            f"{max(others):.0f} ms (limit {1000 * LIMIT:.0f}); the first one, which fits the "
            f"model anew, {first:.0f} ms"
        )


if __name__ == "__main__":
    main()
