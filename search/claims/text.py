"""Prints the report's claims and their verdicts to a terminal, in 80 columns."""

import math
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.text import Text

from search.claims.verdicts import ClaimVerdict, StudyView, common_epoch
from search.console.text import plural
from search.intervals import Estimate

WIDTH = 79
STYLES = {"supported": "bold green", "contradicted": "bold red", "not enough data": "bold yellow"}


def paragraphs(
    verdicts: Sequence[ClaimVerdict], view: StudyView, figures: Mapping[str, Path]
) -> list[Text]:
    """The lines to print.

    Args:
        verdicts: Verdicts from ``judge``.
        view: The data behind them.
        figures: The figure of each claim, by the claim's name.
    """
    trials = f"{plural(len(view.trials), 'trial')} of at most {plural(view.epochs, 'epoch')}"
    lines = [Text(f"study {view.name}: {trials}, {plural(len(view.pairs), 'paired training')}")]
    for verdict in verdicts:
        claim = verdict.claim
        lines += [Text(), Text(f"{claim.name:9}") + Text(verdict.word, STYLES[verdict.word])]
        body = [claim.text, *_findings(verdict)]
        if verdict.settle:
            body.append(f"To settle it: {verdict.settle}.")
        if claim.caveat and verdict.source:
            body.append(claim.caveat)
        lines += [line for part in body for line in _wrapped(part)]
        lines.append(Text(f"  {figures[claim.name]}", "dim"))
    lines.append(Text())
    lines += [Text(line) for part in _notes(verdicts, view) for line in textwrap.wrap(part, WIDTH)]
    return lines


def _findings(verdict: ClaimVerdict) -> list[str]:
    if not verdict.source:
        return []
    n = [effect.estimate.n for effect in verdict.effects if effect.estimate]
    what = verdict.source.removesuffix("s")
    if verdict.source == "pairs" and not verdict.claim.arms:
        what = "full training"
    effects = [f"{effect.label}: {_shown(effect.estimate)}" for effect in verdict.effects]
    basis = f"from {plural(min(n), what)} after {plural(verdict.epoch, 'epoch')}"
    head = f"{verdict.claim.unit}, {basis} ({verdict.claim.measured}):"
    return [head, *(f"  {line}" for line in effects)]


def _shown(estimate: Estimate | None) -> str:
    if estimate is None:
        return "not known"
    if not math.isfinite(estimate.low):
        return f"{estimate.effect:+.2f}, no interval yet"
    return f"{estimate.effect:+.2f} ({estimate.low:+.2f} to {estimate.high:+.2f})"


def _notes(verdicts: Sequence[ClaimVerdict], view: StudyView) -> list[str]:
    notes = []
    if any(verdict.source for verdict in verdicts):
        notes.append(
            "Brackets show 95 % intervals, separately for each claim: of twenty claims without an "
            "effect, one gets a verdict by chance. They hold for these validation images."
        )
    if any(verdict.source == "pairs" for verdict in verdicts):
        notes.append(
            "Pairs differ in one thing and have the same seed; their intervals allow for looking "
            "again after every round."
        )
    if any(verdict.source == "trials" for verdict in verdicts):
        notes.append(
            "Trials were compared by a regression without interactions that adjusts for the other "
            "parameters; paired trainings are more reliable."
        )
    elif view.trials and not common_epoch(view):
        notes.append(
            "The trials are not enough: too few of them trained to the same epoch, and their "
            "losses decided which did."
        )
    if any(verdict.missing for verdict in verdicts):
        study = shlex.quote(view.name)
        notes.append(
            f"next: treino claims --settle --study {study} runs the missing paired trainings"
        )
    return notes


def _wrapped(text: str) -> list[Text]:
    indent = "  " + " " * (len(text) - len(text.lstrip()))
    wrapped = textwrap.wrap(
        text.strip(), WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  "
    )
    return [Text(line) for line in wrapped]
