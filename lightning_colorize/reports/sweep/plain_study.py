"""A study for charts: trials as people know them, not as a search stores them."""

from collections.abc import Sequence

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from lightning_colorize.sweeps.labels import Labels
from lightning_colorize.sweeps.space import LogNormal, LogUniform, Parameter, Quantized
from lightning_colorize.sweeps.spec import Metric, Sweep
from lightning_colorize.sweeps.status import TrialRow

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
    """Return a study in memory, with short names, real values and plain distributions.

    The search's own has quantiles and JSON where Optuna does not know a distribution. Parameters
    that have the same value in all finished trials are left out: they show nothing.

    Args:
        rows: All trials, by number.
        sweep: Theirs.
        metric: The sweep's.
        labels: The sweep's.
    """
    study = optuna.create_study(direction=metric.goal)
    valued = [row for row in rows if row.values and row.state in ("finished", "pruned")]
    plain = {
        name: distribution
        for name in labels.names
        if (distribution := _distribution(sweep.parameters[name], name, valued, labels))
    }
    # All of them, as Optuna numbers them itself.
    study.add_trials([_trial(row, plain, labels) for row in rows])
    return study


def _distribution(
    parameter: Parameter, name: str, rows: Sequence[TrialRow], labels: Labels
) -> BaseDistribution | None:
    """Return a distribution over the values that there are; None where it is one."""
    used = [row.values[name] for row in rows]
    written = {labels.value(name, value) for value in used}
    if len({labels.value(name, row.values[name]) for row in rows if row.state == "finished"}) < 2:
        return None
    if choices := [choice for choice in labels.choices(name) if choice in written]:
        return CategoricalDistribution(tuple(map(_Label, choices)))
    low, high = float(min(used)), float(max(used))
    return FloatDistribution(low, high, log=_is_logarithmic(parameter) and low > 0)


def _is_logarithmic(parameter: Parameter) -> bool:
    inner = parameter.of if isinstance(parameter, Quantized) else parameter
    return isinstance(inner, LogUniform | LogNormal)


def _trial(row: TrialRow, plain: dict[str, BaseDistribution], labels: Labels) -> FrozenTrial:
    state = _STATES.get(row.state, TrialState.FAIL)
    if row.state == "finished" and row.value is None:
        state = TrialState.FAIL
    has_values = bool(row.values) and row.state in ("finished", "pruned")
    params = {
        labels.names[name]: _Label(labels.value(name, row.values[name]))
        if isinstance(distribution, CategoricalDistribution)
        else float(row.values[name])
        for name, distribution in plain.items()
        if has_values
    }
    distributions = {labels.names[name]: distribution for name, distribution in plain.items()}
    return create_trial(
        state=state,
        value=row.value if state in (TrialState.COMPLETE, TrialState.PRUNED) else None,
        params=params,
        distributions=distributions if has_values else {},
        intermediate_values=dict(enumerate(row.history, start=1)),
    )
