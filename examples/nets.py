"""What the examples train: a small network and its optimiser, in NumPy.

MLP    layers of neurons, with a pullback like those of `fastdist.vjp`
Adam   the optimiser, on arrays in place
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Pullback = Callable[[Array], tuple[Array, list[Array]]]


class MLP:
    """Multilayer perceptron: linear maps with tanh between them.

    Parameters
    ----------
    sizes : sequence of int
        Numbers of inputs, of neurons in each hidden layer, and of outputs.
    rng : numpy.random.Generator
        Draws the weights, such that signals keep their size from layer to layer. Those of the last
        layer are a tenth of that: whatever the network stands for starts near 0.

    Attributes
    ----------
    parameters : list of numpy.ndarray
        Weights (in, out) and bias (out,) of the first layer, of the second, and so on.
    """

    def __init__(self, sizes: Sequence[int], rng: np.random.Generator) -> None:
        self.parameters: list[Array] = []
        for n_in, n_out in pairwise(sizes):
            self.parameters += [rng.normal(0, n_in**-0.5, (n_in, n_out)), np.zeros(n_out)]
        self.parameters[-2] *= 0.1

    def __call__(self, x: Array) -> Array:
        """Outputs (..., out) of inputs (..., in)."""
        return self.vjp(x)[0]

    def vjp(self, x: Array) -> tuple[Array, Pullback]:
        """Outputs (n, out) of inputs (n, in), and their pullback.

        It takes the gradient by the outputs and returns those by the inputs and, in a list, by `parameters`.
        """
        weights, biases = self.parameters[::2], self.parameters[1::2]
        inputs: list[Array] = []  # of each layer
        for weight, bias in zip(weights, biases, strict=True):
            inputs.append(x if not inputs else np.tanh(x))
            x = inputs[-1] @ weight + bias

        def pullback(g: Array) -> tuple[Array, list[Array]]:
            gradients: list[Array] = []
            for i in reversed(range(len(weights))):
                gradients = [inputs[i].T @ g, g.sum(axis=0), *gradients]
                g = g @ weights[i].T
                if i > 0:
                    g *= 1 - inputs[i] ** 2  # of tanh
            return g, gradients

        return x, pullback


class Adam:
    """Gradient descent with steps of much the same size for each number.

    D. P. Kingma and J. Ba, "Adam: A method for stochastic optimization", ICLR 2015, with the weight decay of
    I. Loshchilov and F. Hutter, "Decoupled weight decay regularization", ICLR 2019.

    Parameters
    ----------
    parameters : list of numpy.ndarray
        Changed in place.
    rate : float
        Size of a step.
    decay : float
        What a parameter loses in each step, times `rate`.
    """

    def __init__(self, parameters: list[Array], rate: float, decay: float = 0.0) -> None:
        self.parameters, self.rate, self.decay = parameters, rate, decay
        self.mean = [np.zeros_like(p) for p in parameters]  # of the gradient, lately
        self.square = [np.zeros_like(p) for p in parameters]  # of its square, lately
        self.steps = 0

    def step(self, gradients: list[Array], rate: float | None = None) -> None:
        """Move all parameters against their gradients, this time by another `rate` if one is given."""
        rate = self.rate if rate is None else rate
        self.steps += 1
        for p, g, mean, square in zip(self.parameters, gradients, self.mean, self.square, strict=True):
            mean += 0.1 * (g - mean)
            square += 0.001 * (g * g - square)
            # Both began at 0, which this makes up for.
            unbiased, unbiased_square = mean / (1 - 0.9**self.steps), square / (1 - 0.999**self.steps)
            p -= rate * (unbiased / (np.sqrt(unbiased_square) + 1e-8) + self.decay * p)
