"""Prints a digest of 10^6 draws and of densities: the same on every machine, ISA, libc and Python.

Needs an installed fastdist and nothing else. `smoke_wheel.py ISA` uses that instruction set.
"""

import hashlib
import platform
import sys

import numpy as np

import fastdist as fd

N = 1_000_000


def results():
    """Names, and arrays whose bits are those of kernels alone: none is computed by NumPy or libm."""
    dims = 5
    rows = np.arange(1.0, dims * dims + 1).reshape(dims, dims) % 7 / 8
    for dtype in (np.float64, np.float32):
        loc = np.linspace(-1, 1, dims, dtype=dtype)
        scale = np.linspace(0.5, 2, dims, dtype=dtype)
        lower = (np.tril(rows, -1) + np.eye(dims)).astype(dtype)
        covariance = (np.tril(rows, -1) @ np.tril(rows, -1).T + 2 * np.eye(dims)).astype(dtype)
        for d in (
            fd.Normal(loc, scale),
            fd.MultivariateNormal(loc, scale_tril=lower),
            fd.MultivariateNormal(loc, covariance_matrix=covariance),
        ):
            x = d.sample((N // dims,), rng=20261130, workers=2)
            name = f"{type(d).__name__} {np.dtype(dtype).name}"
            yield f"{name} sample", x
            yield f"{name} log_prob", d.log_prob(x)
        yield f"cdf {np.dtype(dtype).name}", fd.Normal(loc, scale).cdf(x)
    yield "uniforms", fd.Categorical(probs=[0.25, 0.5, 0.25]).sample((N,), rng=1)
    assert abs(x.mean(0) - loc).max() < 0.02, x.mean(0)


def main() -> None:
    if len(sys.argv) > 1:
        fd.set_isa(sys.argv[1])
    whole = hashlib.sha256()
    for name, array in results():
        digest = hashlib.sha256(np.ascontiguousarray(array).tobytes())
        print(f"{digest.hexdigest()[:16]}  {name}")
        whole.update(digest.digest())
    libc = "".join(platform.libc_ver()) or "no glibc"
    print(f"Python {platform.python_version()}, NumPy {np.__version__}, {platform.machine()}, {libc}")
    print(f"{fd.__version__} {fd.isa()}: {whole.hexdigest()[:16]}")


if __name__ == "__main__":
    main()
