"""Peers: other strategies that the benchmarks compare treino with, run unmodified.

    other projects      Optuna, KerasTuner, Syne Tune, NePS, Ax, SMAC
    literature          random search, a few epochs and then the best in full
    drafts              pause and promote by rank on fixed rungs

Optuna and KerasTuner run in the process of a replay. The others, and Optuna's GPSampler, which
needs PyTorch, have a virtual environment each: see ``benchmarks.peers.bridge``.
docs/decisions/0009-peers.md says what is left out.
"""

from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec

from benchmarks.peers import drafts, kerastuner
from benchmarks.peers.bridge import DRIVERS, Driven, Environment
from search.errors import TreinoError
from search.replay import peers
from search.replay.simulation import Maker
from search.replay.strategies import STRATEGIES

_AX = partial(Driven, Environment("ax"), DRIVERS / "ax_driver.py")
_GP = partial(Driven, Environment("optuna-gp"), DRIVERS / "optuna_gp_driver.py")
_NEPS = partial(Driven, Environment("neps"), DRIVERS / "neps_driver.py")
_SMAC = partial(Driven, Environment("smac"), DRIVERS / "smac_driver.py")
_SYNETUNE = partial(Driven, Environment("synetune"), DRIVERS / "synetune_driver.py")

PACKAGED: Mapping[str, Maker] = {
    "random": peers.PEERS["random"],
    "optuna-tpe": peers.PEERS["optuna-tpe"],
    "optuna-tpe-median": partial(peers.optuna_study, "tpe", "median"),
    "optuna-tpe-hyperband": partial(peers.optuna_study, "tpe", "hyperband"),
    "optuna-tpe-halving": peers.PEERS["optuna-tpe-halving"],
    "optuna-random-halving": partial(peers.optuna_study, "random", "halving"),
    "optuna-gp": _GP(),
    **kerastuner.STRATEGIES,
    "synetune-asha": _SYNETUNE({"scheduler": "ASHA"}),
    "synetune-bohb": _SYNETUNE({"scheduler": "BOHB"}),
    "synetune-asha-bore": _SYNETUNE({"scheduler": "ASHABORE"}),
    "neps-priorband": _NEPS({"algorithm": "priorband"}),
    "neps-async-hyperband": _NEPS({"algorithm": "async-hyperband"}),
    "neps-bayesian": _NEPS({"algorithm": "bayesian"}),
    "ax": _AX(),
    "ax-early-stopping": _AX({"stops": "early"}),
    "smac-multi-fidelity": _SMAC(knows_budget=True),
}
PEERS: Mapping[str, Maker] = {
    "one-epoch-then-best": partial(peers.then_best, 1),
    "three-epochs-then-best": peers.PEERS["three-epochs-then-best"],
    **drafts.STRATEGIES,
    **PACKAGED,
}
GROUPS: Mapping[str, Mapping[str, Maker]] = {
    "own": STRATEGIES,
    "peers": PEERS,
    "all": {**STRATEGIES, **PEERS},
}


def chosen(names: str) -> tuple[dict[str, Maker], list[str]]:
    """Strategies by their names or those of GROUPS, separated by commas.

    Returns:
        The strategies, and one line for each that a group has but that is not installed.

    Raises:
        SettingsError: A strategy does not exist.
        TreinoError: A strategy that is named is not installed.
    """
    makers = peers.chosen(names, GROUPS)
    for name in makers.keys() & {*names.split(",")}:
        if advice := missing(makers[name]):
            raise TreinoError(f"{name} is not installed: {advice}")
    return installed(makers)


def installed(makers: Mapping[str, Maker]) -> tuple[dict[str, Maker], list[str]]:
    """The strategies that are installed, and one line for each that is not."""
    advice = {name: missing(make) for name, make in makers.items()}
    left_out = [
        f"{name} is left out, because it is not installed: {command}"
        for name, command in advice.items()
        if command
    ]
    return {name: make for name, make in makers.items() if not advice[name]}, left_out


def missing(make: Maker) -> str | None:
    """The command that installs what a strategy needs, if it is not installed."""
    if isinstance(make, Driven):
        return None if make.environment.installed() else f"make {make.environment.target}"
    if make in kerastuner.STRATEGIES.values() and find_spec("keras_tuner") is None:
        return "make .venv/bin/installed-bench"
    return None
