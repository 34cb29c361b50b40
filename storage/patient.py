"""Optuna's storage, with calls that endure outages and can share a transaction.

What each epoch and each decision writes takes three statements here. Optuna's own unit of work for
it takes five times as long, which would be most of the tuner's time.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial, wraps
from typing import Any

from optuna._typing import JSONSerializable
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Update, bindparam, func, insert, select, update

from storage.outages import Outages

Value = models.TrialIntermediateValueModel

_STATE = select(models.TrialModel.state).where(models.TrialModel.trial_id == bindparam("trial"))
_OLD = "old_"  # prefix of a parameter, beside the column of its name

Write = Callable[[], object]
"""Writes something. Called again with the same effect if its transaction fails."""


class PatientStorage(RDBStorage):
    """A storage of one process that alone writes to its studies.

    Attributes:
        outages: Endures outages during each call.
        joined: The connection of the transaction of `write`; None elsewhere.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.outages = Outages()
        self.joined: Connection | None = None
        super().__init__(*arguments, **options)

    def write(self, writes: Sequence[Write]) -> None:
        """Execute ``writes`` in order, as one transaction.

        They may call methods of this storage, and use ``joined``. All or none take effect.
        """
        repeated = False

        def call() -> None:
            nonlocal repeated
            again, repeated = repeated, True
            try:
                self._write(writes)
            except UpdateFinishedTrialError:
                if not again:
                    raise
                # All took effect the first time, and only the answer was lost.

        self.outages.endure(call)

    def _write(self, writes: Sequence[Write]) -> None:
        self.scoped_session.remove()
        with self.engine.begin() as connection:
            # Optuna's own transactions become savepoints of this one.
            self.scoped_session.configure(bind=connection, join_transaction_mode="create_savepoint")
            self.joined = connection
            try:
                for write in writes:
                    write()
            finally:
                self.joined = None
                self.scoped_session.remove()
                self.scoped_session.configure(
                    bind=self.engine, join_transaction_mode="conditional_savepoint"
                )

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        """See Optuna."""
        value, kind = Value.intermediate_value_to_stored_repr(intermediate_value)
        row = {"intermediate_value": value, "intermediate_value_type": kind}
        self._put(Value, {"trial_id": trial_id, "step": step}, row)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """See Optuna."""
        row = {"value_json": json.dumps(value)}
        self._put(models.TrialUserAttributeModel, {"trial_id": trial_id, "key": key}, row)

    def set_trial_system_attr(self, trial_id: int, key: str, value: JSONSerializable) -> None:
        """See Optuna."""
        row = {"value_json": json.dumps(value)}
        self._put(models.TrialSystemAttributeModel, {"trial_id": trial_id, "key": key}, row)

    def _put(self, table: Any, key: Mapping[str, Any], row: Mapping[str, Any]) -> None:
        """Insert or update a row that belongs to an unfinished trial."""

        def put(connection: Connection) -> None:
            trial = key["trial_id"]
            state = connection.execute(_STATE, {"trial": trial}).scalar_one_or_none()
            if state is None:
                raise KeyError(models.NOT_FOUND_MSG)
            self.check_trial_is_updatable(trial, state)
            # An update first, because ids of rows are their order in time.
            old = {f"{_OLD}{name}": value for name, value in key.items()}
            if not connection.execute(_update(table, *key), {**old, **row}).rowcount:
                connection.execute(insert(table), {**key, **row})

        def alone() -> None:
            with _create_scoped_session(self.scoped_session, True) as session:
                put(session.connection())

        if self.joined is not None:
            put(self.joined)
        else:
            self.outages.endure(alone)

    # Calls that a repetition would find done.

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """See Optuna. Repeated, it finds an enqueued trial running: nobody else begins one."""
        repeated = False

        def call() -> bool:
            nonlocal repeated
            again, repeated = repeated, True
            if again and self.get_trial(trial_id).state == state:
                return True
            return super(PatientStorage, self).set_trial_state_values(trial_id, state, values)

        return self.outages.endure(call)

    def _create_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None = None
    ) -> FrozenTrial:
        before: int | None = None

        def call() -> FrozenTrial:
            nonlocal before
            count = self._count(study_id)
            if before is not None and count > before:  # only the answer was lost
                trial_id = self.get_trial_id_from_study_id_trial_number(study_id, before)
                return self.get_trial(trial_id)
            before = count
            return super(PatientStorage, self)._create_new_trial(study_id, template_trial)

        return self.outages.endure(call)

    def _count(self, study_id: int) -> int:
        """Number of trials of a study; Optuna's ``get_n_trials`` loads them all."""
        trials = models.TrialModel
        query = select(func.count(trials.trial_id)).where(trials.study_id == study_id)
        with _create_scoped_session(self.scoped_session) as session:
            return int(session.execute(query).scalar_one())


@cache  # to build a statement takes as long as to execute it
def _update(table: Any, *key: str) -> Update:
    columns = table.__table__.c
    return update(table).where(*(columns[name] == bindparam(f"{_OLD}{name}") for name in key))


def _patient(name: str) -> Callable[..., Any]:
    method = getattr(RDBStorage, name)

    @wraps(method)
    def call(self: PatientStorage, *arguments: Any, **options: Any) -> Any:
        return self.outages.endure(partial(method, self, *arguments, **options))

    return call


# All that Optuna's cache and its other parts call. Reads, and writes that set a value.
for _name in (
    *("get_study_id_from_name", "get_study_name_from_id", "get_study_directions"),
    *("get_study_user_attrs", "get_study_system_attrs", "get_all_studies"),
    *("get_trial", "get_all_trials", "_get_trials", "_get_best_trial_id"),
    "get_trial_id_from_study_id_trial_number",
    *("set_study_user_attr", "set_study_system_attr", "_set_trial_param"),
):
    setattr(PatientStorage, _name, _patient(_name))
