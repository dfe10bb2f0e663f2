"""The cdf and what is made of it: four methods, each one way through a distribution's own `_cdf`."""

from __future__ import annotations

from torch import Tensor


class CdfFamily:
    """Methods of distributions whose `_cdf` knows them by name."""

    def cdf(self, value: Tensor) -> Tensor:
        """Cumulative distribution function."""
        return self._cdf("cdf", value)

    def log_cdf(self, value: Tensor) -> Tensor:
        """Logarithm of the cdf."""
        return self._cdf("log_cdf", value)

    def survival_function(self, value: Tensor) -> Tensor:
        """Complement of the cdf, 1 - cdf, without its cancellation."""
        return self._cdf("survival_function", value)

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Logarithm of the survival function."""
        return self._cdf("log_survival_function", value)

    def _cdf(self, method: str, value: Tensor) -> Tensor:
        """What a method of the family makes of a value."""
        raise NotImplementedError(method)
