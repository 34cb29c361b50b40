"""Chooses by a model of full trainings alone."""

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
import numpy.typing as npt

from search.scheduling.candidates import Candidates, Key, best_of
from search.scheduling.chooser import NextTraining, ObservedTrial
from search.scheduling.gaussian_process import CurveProcess, Points
from search.scheduling.improvement import log_expected_improvement, margin, prospect
from search.scheduling.loss_scale import RESOLUTION, LossScale
from search.spaces.unit_cube import Array

LEAST = 8  # full trainings that the model needs
AS_GOOD = 0.8  # a paused trial continues if its gain is at least this part of the best one's
REFIT = 1.05  # refit the scales when the number of full trainings has grown by this factor


class FullTrainings:
    """Finds the configuration that improves most on the best one, and trains it to its end.

    Most losses that the model of all epochs knows are of short trainings and of bad configurations.
    They set its scale, so it tells good regions from bad ones. A model of full trainings alone
    tells good configurations apart.
    """

    def __init__(
        self,
        candidates: Candidates,
        epochs: int,
        memory: Mapping[str, Any],
        resolution: float = RESOLUTION,
    ) -> None:
        """Choose for trials of ``epochs`` epochs; ``memory`` is that of an earlier one.

        Losses below ``resolution`` count as equal to it.
        """
        self._resolution = resolution
        self._candidates = candidates
        self._epochs = epochs
        self._process = CurveProcess(candidates.cube.feature_count, memory.get("scales"))
        self._fitted = int(memory.get("losses", 0))

    @property
    def memory(self) -> dict[str, Any]:
        """The scales of the model, and the number of losses that they were fitted to."""
        return {"scales": [float(scale) for scale in self._process.scales], "losses": self._fitted}

    def are_enough(self, trials: Sequence[ObservedTrial]) -> bool:
        """Whether there are enough full trainings for the model."""
        return len(self._of(trials)) >= LEAST

    def choose(
        self,
        trials: Sequence[ObservedTrial],
        paused: Sequence[ObservedTrial],
        tried: AbstractSet[Key],
        random: np.random.Generator,
    ) -> NextTraining | None:
        """A new configuration, or a paused trial of one about as good; None if there is none new.

        Args:
            trials: All trials that have started.
            paused: Those that may be resumed.
            tried: The configurations of all trials.
            random: Draws the candidates.
        """
        full = self._of(trials)
        losses = np.array([trial.best for trial in full])
        scale = LossScale.of(losses, self._resolution)
        values = scale.to_model(losses)
        self._learn(full, values)
        running = [trial for trial in trials if trial.state == "running"]
        if running:
            self._process.believe(self._trained(running))
        goal = float(values.min()) - margin(random)

        def gain(points: Array) -> Array:
            mean, deviation = self._process.predict(self._untrained(points), smooth=True)
            return log_expected_improvement(goal, mean, deviation)

        def why(point: Array) -> str:
            mean, deviation = self._process.predict(self._untrained(point[None]), smooth=True)
            return prospect(scale, float(values.min()), float(mean[0]), float(deviation[0]))

        start = self._candidates.draw(best_of(full), random)
        points, gains = self._candidates.climb(start, gain, trials, random)
        if not len(points):
            return None
        able = [trial for trial in paused if trial.best < math.inf]
        if able:
            theirs = self._candidates.points(able)
            expected = gain(theirs)
            best = int(expected.argmax())
            if expected[best] >= gains[0] + math.log(AS_GOOD):
                return NextTraining(able[best].number, able[best].params, why(theirs[best]))
        return self._candidates.first_new(points, tried, why(points[0]))

    def _of(self, trials: Sequence[ObservedTrial]) -> list[ObservedTrial]:
        return [trial for trial in trials if len(trial.losses) >= self._epochs]

    def _learn(self, full: Sequence[ObservedTrial], values: Array) -> None:
        """Condition the model on trials and their values (trials,)."""
        points = self._trained(full)
        if len(full) >= REFIT * self._fitted:
            self._process.fit(points, values)
            self._fitted = len(full)
        self._process.condition(points, values)

    def _trained(self, trials: Sequence[ObservedTrial]) -> Points:
        numbers = np.array([trial.number for trial in trials], dtype=np.int64)
        return self._in_full(self._candidates.points(trials), numbers)

    def _untrained(self, points: Array) -> Points:
        return self._in_full(points, np.full(len(points), -1))

    def _in_full(self, points: Array, owners: npt.NDArray[np.int64]) -> Points:
        return Points(self._candidates.cube.features(points), np.ones(len(points)), owners)
