"""What every distribution of a sweep file can do."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from random import Random

    from optuna.trial import BaseTrial

# A normal distribution has no value at 0 and 1; this is 4.75 standard deviations away.
_TAIL = 1e-6


class Parameter(ABC):
    """One parameter of a sweep: where its values come from.

    Attributes:
        constant: Whether it has a single value, so that there is nothing to search.
    """

    constant: ClassVar[bool] = False

    @property
    def values(self) -> Sequence[Any] | None:
        """All values, in the file's order; None where there is a continuum of them."""
        return None

    @abstractmethod
    def quantile(self, u: float) -> Any:
        """Return the value below which a share `u` of the distribution lies, `u` in (0, 1)."""

    def suggest(self, trial: "BaseTrial", name: str) -> Any:
        """Return a trial's value, as W&B would put it on the command line.

        What Optuna knows and stores is a quantile, uniform in (0, 1), so that its samplers can
        work on distributions that it does not have. A frozen trial gives the value it once got.

        Args:
            trial: Optuna's, new or frozen.
            name: The parameter's dotted name.
        """
        return self.quantile(trial.suggest_float(name, _TAIL, 1 - _TAIL))

    def sample(self, rng: "Random") -> Any:
        """Return a value drawn without Optuna."""
        return self.quantile(rng.uniform(_TAIL, 1 - _TAIL))
