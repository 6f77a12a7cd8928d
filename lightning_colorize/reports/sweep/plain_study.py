"""An Optuna study for charts: with the values that people read, not those the search stores."""

from collections.abc import Sequence

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from lightning_colorize.sweeps.space import LogNormal, LogUniform, Parameter, Quantized
from lightning_colorize.sweeps.spec import Metric, Sweep
from lightning_colorize.sweeps.status import Labels, TrialRow

_STATES = {
    "finished": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "running": TrialState.RUNNING,
}


class _Label(str):
    """A text that Optuna's charts, which show `repr`, show without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def plain_study(
    rows: Sequence[TrialRow], sweep: Sweep, metric: Metric, labels: Labels
) -> optuna.Study:
    """Return a study in memory with short names, real values and plain distributions.

    The sweep's own study has quantiles and JSON where Optuna lacks a distribution. Parameters with
    a single value among the finished trials are left out.
    """
    study = optuna.create_study(direction=metric.goal)
    valued = [row for row in rows if _is_valued(row)]
    plain = {
        name: distribution
        for name in labels.names
        if (distribution := _distribution(sweep.parameters[name], name, valued, labels))
    }
    # All trials, because Optuna numbers them in order.
    study.add_trials([_trial(row, plain, labels) for row in rows])
    return study


def _is_valued(row: TrialRow) -> bool:
    return bool(row.values) and row.state in ("finished", "pruned")


def _distribution(
    parameter: Parameter, name: str, rows: Sequence[TrialRow], labels: Labels
) -> BaseDistribution | None:
    """Return a distribution over the values in use; None for a single value."""
    used = [row.values[name] for row in rows]
    if len({labels.value(name, row.values[name]) for row in rows if row.state == "finished"}) < 2:
        return None
    written = {labels.value(name, value) for value in used}
    if choices := [choice for choice in labels.choices(name) if choice in written]:
        return CategoricalDistribution(tuple(map(_Label, choices)))
    inner = parameter.of if isinstance(parameter, Quantized) else parameter
    low, high = float(min(used)), float(max(used))
    return FloatDistribution(low, high, log=isinstance(inner, LogUniform | LogNormal) and low > 0)


def _trial(row: TrialRow, plain: dict[str, BaseDistribution], labels: Labels) -> FrozenTrial:
    state = _STATES.get(row.state, TrialState.FAIL)
    if row.state == "finished" and row.value is None:
        state = TrialState.FAIL
    shown = plain if _is_valued(row) else {}
    return create_trial(
        state=state,
        value=row.value if state in (TrialState.COMPLETE, TrialState.PRUNED) else None,
        params={
            labels.names[name]: _Label(labels.value(name, row.values[name]))
            if isinstance(distribution, CategoricalDistribution)
            else float(row.values[name])
            for name, distribution in shown.items()
        },
        distributions={labels.names[name]: each for name, each in shown.items()},
        intermediate_values=dict(enumerate(row.history, start=1)),
    )
