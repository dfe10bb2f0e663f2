"""Gaussian: base of distributions that take noise of the user's own, and give it back."""

from __future__ import annotations

from fastdist._shapes import Shape
from fastdist._typing import ArrayLike, Real
from fastdist.distributions.distribution import Distribution


class Gaussian(Distribution):
    """Base of those that say how they colour noise, take the colour away, and measure distances.

    From a packed value to an array: `_colorize(eps, out)`, `_whiten(x, out)`, `_mahalanobis(x, event_ndim,
    out)`.
    """

    @property
    def _noise_shape(self) -> Shape:
        """Shape of what an event is coloured from."""
        return self._event_shape

    def colorize(self, eps: ArrayLike, *, out: Real | None = None) -> Real:
        """Draws from noise of one's own: ``loc + scale * eps``, or ``loc + scale_tril @ eps``.

        Of the normals that `sample` would draw it makes the same sample, bit for bit. Of others, quasi-random
        or antithetic ones, or common to several distributions, it makes what they are for.

        Parameters
        ----------
        eps : array_like
            Standard normals. Its last dims must be `event_shape` exactly; those before broadcast with
            `batch_shape`.
        out : numpy.ndarray, optional
            Array of the result's shape and dtype to write to, and to return. It may overlap `eps`.

        Returns
        -------
        numpy.ndarray
            Shape: the batch dims of `eps`, broadcast with `batch_shape`, and the event; float64 if `eps` is
            (a Python number counts as the distribution's own dtype).

        Examples
        --------
        Antithetic draws: of a mean only even functions of the noise are left in its error.

        >>> import numpy as np, fastdist as fd
        >>> mvn = fd.MultivariateNormal([1.0, 2.0], scale_tril=[[2.0, 0.0], [0.6, 0.5]])
        >>> eps = fd.standard_normal((1000, 2), rng=0)
        >>> x = mvn.colorize(np.concatenate([eps, -eps]))
        >>> bool(np.allclose(x.mean(0), mvn.mean, atol=1e-12))
        True

        Quasi-random ones, from scipy's Sobol sequence::

            u = scipy.stats.qmc.Sobol(2, rng=0).random(1024)
            x = mvn.colorize(fd.Normal(0.0, 1.0).icdf(u))
        """
        return self._of_events("eps", eps, out, self._colorize, self._event_shape)

    def whiten(self, x: ArrayLike, *, out: Real | None = None) -> Real:
        """The noise that events are made of, the inverse of `colorize`: ``(x - loc) / scale``, or L⁻¹ of it.

        Parameters
        ----------
        x : array_like
            Events. Its last dims must be `event_shape` exactly; those before broadcast with `batch_shape`.
        out : numpy.ndarray, optional
            Array of the result's shape and dtype to write to, and to return. It may overlap `x`.

        Returns
        -------
        numpy.ndarray
            Shape and dtype as for `colorize`.

        Examples
        --------
        >>> import fastdist as fd
        >>> mvn = fd.MultivariateNormal([1.0, 2.0], scale_tril=[[2.0, 0.0], [0.5, 0.5]])
        >>> mvn.whiten([3.0, 4.0])
        array([1., 3.])
        """
        return self._of_events("x", x, out, self._whiten, self._event_shape)

    def mahalanobis(self, x: ArrayLike, *, out: Real | None = None) -> Real:
        """Squared Mahalanobis distance of events from `loc`: the sum of the squares of ``whiten(x)``.

        Parameters
        ----------
        x : array_like
            Events. Its last dims must be `event_shape` exactly; those before broadcast with `batch_shape`.
        out : numpy.ndarray, optional
            Array of the result's shape and dtype to write to, and to return. It may overlap `x`.

        Returns
        -------
        numpy.ndarray
            Shape: the batch dims of `x`, broadcast with `batch_shape`; float64 if `x` is.

        Examples
        --------
        >>> import fastdist as fd
        >>> mvn = fd.MultivariateNormal([1.0, 2.0], scale_tril=[[2.0, 0.0], [0.5, 0.5]])
        >>> float(mvn.mahalanobis([3.0, 4.0]))
        10.0
        """
        n = len(self._event_shape)
        return self._of_events("x", x, out, lambda value, result: self._mahalanobis(value, n, result), ())

    def _colorize(self, eps: Real, out: Real) -> None:
        raise NotImplementedError

    def _whiten(self, x: Real, out: Real) -> None:
        raise NotImplementedError

    def _mahalanobis(self, x: Real, event_ndim: int, out: Real) -> None:
        """Summed over `event_ndim` trailing dims of a value."""
        raise NotImplementedError
