"""Peers: other strategies that replays compare treino with, run unmodified.

    other projects      Optuna's own combinations, KerasTuner's oracles, Syne Tune's schedulers
    literature          random search, a few epochs and then the best in full
    rivals              pause and promote by rank on fixed rungs

Not included, because they need PyTorch, which is larger than all other dependencies together:
Optuna's GPSampler, NePS (neural-pipeline-search 0.17) and Syne Tune's BoTorch searcher; ASHACQR of
Syne Tune fails to import without the extra that installs it. Not included, because their last
release (Syne Tune 0.13) needs NumPy below 1.27, and treino needs 2.2 or later: Syne Tune's MOBSTER,
HyperTune and DyHPO.
"""

from collections.abc import Mapping
from importlib.util import find_spec

from search.errors import SettingsError, TreinoError
from search.replay.peers import baselines, kerastuner, optuna_study, synetune
from search.replay.simulation import Maker
from search.replay.strategies import STRATEGIES

PACKAGED: Mapping[str, Maker] = {
    **optuna_study.STRATEGIES,
    **kerastuner.STRATEGIES,
    **synetune.STRATEGIES,
}
PEERS: Mapping[str, Maker] = {**baselines.STRATEGIES, **PACKAGED}
GROUPS: Mapping[str, Mapping[str, Maker]] = {
    "own": STRATEGIES,
    "peers": PEERS,
    "all": {**STRATEGIES, **PEERS},
}

# Optional packages, by the first part of their strategies' names.
EXTRAS = {"kerastuner": ("keras_tuner", "keras-tuner"), "synetune": ("syne_tune", "syne-tune")}


def chosen(names: str) -> dict[str, Maker]:
    """Strategies by their names or those of GROUPS, separated by commas.

    Raises:
        SettingsError: A strategy does not exist.
        TreinoError: A package that a strategy needs is not installed.
    """
    found: dict[str, Maker] = {}
    for name in names.split(","):
        if name not in GROUPS and name not in GROUPS["all"]:
            known = ", ".join([*GROUPS, *GROUPS["all"]])
            raise SettingsError(f"--strategies {name!r}: expected one of {known}")
        found.update(GROUPS.get(name) or {name: GROUPS["all"][name]})
    for name in found:
        package = missing(name)
        if package:
            raise TreinoError(
                f"{name} needs {package}: .venv/bin/pip install --constraint constraints.txt "
                f"--editable '.[benchmarks]'"
            )
    return found


def missing(name: str) -> str | None:
    """The package that a strategy needs, if it is not installed."""
    module, package = EXTRAS.get(name.partition("-")[0], ("optuna", "optuna"))
    return None if find_spec(module) else package
