"""The cdf family, as methods: classes say what they come to in `_cdf(method, value, out)`."""

from __future__ import annotations

from fastdist._typing import ArrayLike, Real


class CdfFamily:
    """Cumulative distribution functions."""

    def cdf(self, value: ArrayLike, *, out: Real | None = None) -> Real:
        """Cumulative distribution function, the probability of draws up to `value`.

        Parameters
        ----------
        value : array_like
            Broadcasts with `batch_shape`.
        out : numpy.ndarray, optional
            Array of the result's shape and dtype to write to, and to return.

        Returns
        -------
        numpy.ndarray
            Shape: that of `value` broadcast with `batch_shape`; dtype as for `log_prob`.

        Raises
        ------
        NotImplementedError
            If what the distribution is made of has none.
        """
        return self._cdf("cdf", value, out)

    def survival_function(self, value: ArrayLike, *, out: Real | None = None) -> Real:
        """Complement of the cdf, 1 - `cdf`, without its cancellation. See `cdf`."""
        return self._cdf("survival_function", value, out)

    def log_cdf(self, value: ArrayLike, *, out: Real | None = None) -> Real:
        """Logarithm of `cdf`, also where that is too small for the dtype. See `cdf`."""
        return self._cdf("log_cdf", value, out)

    def log_survival_function(self, value: ArrayLike, *, out: Real | None = None) -> Real:
        """Logarithm of `survival_function`. See `cdf`."""
        return self._cdf("log_survival_function", value, out)

    def _cdf(self, method: str, value: ArrayLike, out: Real | None) -> Real:
        raise NotImplementedError


class Quantiles(CdfFamily):
    """And their inverses."""

    def icdf(self, value: ArrayLike, *, out: Real | None = None) -> Real:
        """Quantile function, inverse of `cdf`: the lower end of the support at 0, the upper at 1.

        Raises
        ------
        ValueError
            For a probability outside [0, 1] (unless ``validate_args=False``, then NaN).
        """
        return self._cdf("icdf", value, out)

    def isf(self, value: ArrayLike, *, out: Real | None = None) -> Real:
        """Inverse of the survival function: the upper end of the support at 0, the lower at 1. See `icdf`."""
        return self._cdf("isf", value, out)

    def log_icdf(self, value: ArrayLike, *, out: Real | None = None) -> Real:
        """Quantile of a log probability, the inverse of `log_cdf`: for tails beyond 1e-308. See `cdf`.

        Raises
        ------
        ValueError
            For a log probability above 0 (unless ``validate_args=False``, then NaN).

        Examples
        --------
        >>> import fastdist as fd
        >>> float(fd.Normal(0.0, 1.0).log_icdf(-804.6084420137538))
        -40.0
        """
        return self._cdf("log_icdf", value, out)
