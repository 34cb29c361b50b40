"""The unfinished trials of a search, from the study's trial to the job of a worker."""

from collections.abc import Sequence
from dataclasses import replace

import optuna
from optuna.trial import FrozenTrial

from data.dataset import Dataset
from models.spec import OwnSpec, count_parameters
from search.protocol import Job, NetworkSize, Resumed
from search.scheduling.chooser import ObservedTrial
from search.scheduling.seeds import trial_seed
from search.spaces.builtin import Space
from search.spaces.room import Room
from search.spaces.unit_cube import Params
from search.study.provenance import document
from search.study.recorder import LiveTrial, TrialRecorder
from search.study.trials import never_trained, seed_number, size_of
from search.tuning.plan import Plan
from storage.files import write_atomically


class LiveTrials:
    """Opens trials, writes their specs, makes their jobs, and learns their networks' sizes."""

    def __init__(
        self, space: Space, data: Dataset, plan: Plan, room: Room, recorder: TrialRecorder
    ) -> None:
        """Open trials of a study that ``recorder`` records."""
        self._space = space
        self._data = data
        self._plan = plan
        self._room = room
        self._recorder = recorder
        self._begun: dict[int, optuna.Trial] = {}  # by number, until they are opened

    def adopt(self, trials: Sequence[FrozenTrial]) -> None:
        """Learn the sizes that earlier tuners have stored."""
        if not self._room.is_fixed or self._plan.size == "latency":
            for trial in trials:
                if size := size_of(trial):
                    self._room.sizes.learn(trial.params, size)

    def retriable(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Those of the trials that never trained and can be trained now."""
        return [
            trial
            for trial in never_trained(trials, self._room.limits.memory)
            if self._space.contains(trial.params) and not self._room.fault(trial.params)
        ]

    def whole(self, trial: ObservedTrial) -> ObservedTrial:
        """A trial with its whole configuration, even if a tuner died while drawing it."""
        if trial.state != "running" or trial.params.keys() == self._space.distributions().keys():
            return trial
        return replace(trial, params=self._space.suggest(self._recorder.handle(trial.number)))

    def begun(self, trial: optuna.Trial) -> Params:
        """Keep the handle on a trial that has begun; return its configuration."""
        self._begun[trial.number] = trial
        return self._space.suggest(trial)

    def handle(self, number: int) -> optuna.Trial:
        """The handle on an unfinished trial."""
        return self._begun.pop(number, None) or self._recorder.handle(number)

    def open(self, number: int) -> LiveTrial:
        """The trial with its network and training; also writes its spec."""
        trial = self.handle(number)
        params = self._space.suggest(trial)
        model, training = self._space.specs(params)
        parameters = count_parameters(model, self._data.input_shape, len(self._data.classes))
        seed = trial_seed(self._plan.seed, seed_number(trial))
        live = LiveTrial(
            trial, params, model, training, seed, parameters, self._minimised_size(params)
        )
        spec = self._recorder.paths(live).spec
        if not spec.exists():  # else it may have what only a worker knows of an own network
            write_atomically(spec, document(model, training, seed, self._data))
        return live

    def job(self, live: LiveTrial) -> Job:
        """The job that trains a trial, from its checkpoint on."""
        plan, limits, files = self._plan, self._room.limits, self._recorder.paths(live)
        if live.size and plan.size == "latency":  # perhaps that of an equal network
            self._recorder.learned(live, NetworkSize(0, latency=live.size))
        begun = bool(live.reported)  # a started trial continues, whatever the limits are now
        return Job(
            run=live.run,
            model=live.model,
            training=live.training,
            data=self._data.path,
            seed=live.seed,
            checkpoint=files.checkpoint,
            trial=live.number,
            save=files.model,
            max_parameters=None if begun else limits.parameters,
            max_operations=None if begun else limits.operations,
            size="" if live.size else plan.size,
        )

    def resumed(self, live: LiveTrial, message: Resumed) -> None:
        """Take note of what a worker tells of the network before it trains."""
        live.parameters = message.parameters or live.parameters
        self.learn(live, NetworkSize(live.parameters, message.operations, message.latency))
        if message.own:
            spec = document(live.model, live.training, live.seed, self._data, message.own)
            write_atomically(self._recorder.paths(live).spec, spec)
        self._recorder.set_by_user(live, message.attributes)

    def learn(self, live: LiveTrial, size: NetworkSize) -> None:
        """Take note of what is known of a network's size only once it is built."""
        if size.latency or (isinstance(live.model, OwnSpec) and size.parameters):
            self._recorder.learned(live, self._room.sizes.learn(live.params, size))
            live.size = self._minimised_size(live.params)

    def _minimised_size(self, params: Params) -> float:
        """The size that the study minimises; 0 if it minimises none, or while it is unknown."""
        name = self._plan.size
        return getattr(self._room.sizes.known(params), name) if name else 0
