"""The benchmark of replays goes on where it was, and knows what is out of date."""

import json
from pathlib import Path

import pytest

from benchmarks import decisions
from benchmarks import replay as bench
from benchmarks.ledger import Ledger, _reached, code_of
from benchmarks.peers import GROUPS, bridge
from benchmarks.peers.bridge import Driven
from search.replay import simulation, strategies
from search.replay.comparison import Result
from search.scheduling import curves, samplers
from search.scheduling.chooser import NextTraining
from search.scheduling.curves import LEAST
from search.scheduling.rungs import STARTUP
from tests.support.recorded import EPOCHS, curve, made

ROW = {"strategy": "random", "code": "optuna-5", "task": "3945", "seed": 0, "workers": 1}
REGRETS = [0.5, 0.4, 0.3, 0.2, 0.1]


def test_a_ledger_goes_on_after_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "bench" / "replay.jsonl"
    ledger = Ledger(path)
    assert ledger.get(ROW) is None
    ledger.add(ROW, REGRETS)
    with path.open("a") as file:
        file.write('\n{"strategy": "ran')
    again = Ledger(path)
    assert again.get(ROW) == REGRETS
    assert again.get({**ROW, "code": "optuna-6"}) is None
    again.add({**ROW, "seed": 1}, REGRETS[::-1])
    assert Ledger(path).get({**ROW, "seed": 1}) == REGRETS[::-1]


def test_a_ledger_keeps_budgets_apart(tmp_path: Path) -> None:
    path = tmp_path / "replay.jsonl"
    before = {**ROW, "regrets": REGRETS}  # a line from before budgets were kept
    path.write_text(json.dumps(before) + "\n")
    ledger = Ledger(path)
    assert ledger.get(ROW) == REGRETS
    assert ledger.get(ROW, (3, 40)) == [0.5, 0.1]
    assert ledger.get(ROW, (40, 80)) is None
    ledger.add(ROW, [0.1, 0.05], (40, 80))
    assert Ledger(path).get(ROW, (3, 80)) == [0.5, 0.05]


def test_a_file_of_curves_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    file = tmp_path / "cifar10.json"
    names = []
    for count in (LEAST, LEAST + 1):
        curves.write(made(tuple(curve(seed) for seed in range(count))), file)
        found = bench.suites(None, (), [file])
        assert list(found) == [f"Curves of {file}"]
        ((name, make),) = found[f"Curves of {file}"].items()
        assert make().epochs == EPOCHS
        names.append(name)
    assert names[0] != names[1]


def codes() -> dict[str, str]:
    """Of every strategy that needs no environment of its own."""
    return {
        name: code_of(make) for name, make in GROUPS["all"].items() if not isinstance(make, Driven)
    }


def test_a_strategys_code_is_its_own_and_that_of_the_replay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = codes()
    assert codes() == before
    assert before["kerastuner-hyperband"].startswith("keras-tuner-")
    with monkeypatch.context() as patched:
        patched.setattr(strategies, "Promoting", NextTraining)  # the code of another class
        after = codes()
    assert {name for name in before if after[name] != before[name]} == {
        name for name in before if name.startswith(("default", "promote"))
    }
    monkeypatch.setattr(simulation, "simulate", decisions.train)
    assert all(after != before[name] for name, after in codes().items())


def test_the_code_of_a_driven_peer_is_its_release_and_that_of_the_replay(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bridge, "ENVIRONMENTS", tmp_path)
    info = tmp_path / "venv-smac/lib/python3.11/site-packages/smac.dist-info/METADATA"
    info.parent.mkdir(parents=True)
    info.write_text("Metadata-Version: 2.1\nName: smac\nVersion: 2.4.1\n")
    smac = GROUPS["all"]["smac-multi-fidelity"]
    before = code_of(smac)
    assert before.startswith("smac-2.4.1-")
    monkeypatch.setattr(simulation, "simulate", decisions.train)
    assert code_of(smac) != before


def test_the_code_of_treinos_own_is_all_that_decides() -> None:
    names = {module.__name__ for module in _reached(samplers)}
    assert {
        "search.scheduling.samplers",
        "search.scheduling.asha",
        "search.scheduling.gaussian_process",
        "search.spaces.unit_cube",
    } <= names


def test_the_report_says_where_the_default_falls_short() -> None:
    regret = {"default": 0.3, "random": 0.6, "optuna-tpe": 0.4, "three-epochs-then-best": 0.2}
    results = [Result(n, 4, b, r, 0.01) for n, r in regret.items() for b in (3, 5, 10, 20, 40)]
    replays = dict.fromkeys(((name, 4) for name in regret), 8)
    text = bench.report(results, replays)
    assert "## 4 workers" in text
    assert "| default | 8 | .300 ± .010 |" in text
    short = "- 3x: .300, ABOVE three-epochs-then-best's .200, ABOVE 0.7 of optuna-tpe's .400"
    assert short in text.splitlines()
    longer = bench.report([*results, *(Result(n, 4, 80, 0.1, 0.01) for n in regret)], replays)
    assert "| 40x | 80x |" in longer
    assert "- 80x" not in longer  # nothing is asked of it there


def test_decisions_are_timed_on_a_search_as_it_would_be(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = decisions.history(30)
    assert sorted({len(trial.losses) for trial in seen}) == list(decisions.STEPS[:4])
    monkeypatch.setattr(decisions, "TRIALS", (2 * STARTUP,))
    monkeypatch.setattr(decisions, "DECISIONS", 3)
    decisions.main()
    assert "a decision after 20 trials: " in capsys.readouterr().out
