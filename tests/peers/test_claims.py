"""What the README says of others, "Who has it", held against torch, scipy and numpy as they are."""

import inspect
import subprocess
import sys

import numpy as np
import pytest
import torch
from pages import README, Row, parts
from scipy import stats
from torch import distributions as td

import fastdist as fd

pytestmark = pytest.mark.peers

G = np.random.default_rng(0)
EYES = np.stack([np.eye(2)] * 3)
FD_MVN = fd.MultivariateNormal(np.zeros((3, 2)), EYES)
TD_MVN = td.MultivariateNormal(torch.zeros(3, 2), torch.tensor(EYES).float())


def does(call):
    """True if it returns."""
    try:
        call()
    except (TypeError, ValueError, NotImplementedError, AttributeError):
        return False
    return True


def alone(code):
    """True if a process in which nothing else has registered anything with torch runs it."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0 or "NotImplementedError" in result.stderr, result.stderr
    return result.returncode == 0


def takes(function, *names):
    return bool({*names} & {*inspect.signature(function).parameters})


LEAF = torch.ones(2, requires_grad=True)
MIXED = fd.Independent(fd.Normal(np.zeros(2), 1.0), 1)
KL_BY_TORCH = """
import torch
from torch import distributions as td
td.kl_divergence(
    td.Independent(td.Normal(torch.zeros(2), 1.0), 1), td.MultivariateNormal(torch.zeros(2), torch.eye(2))
)
"""

# By the row's words: fastdist, torch, scipy, numpy.
CHECKS = {
    "batched multivariate normal": (
        lambda: FD_MVN.batch_shape == (3,),
        lambda: TD_MVN.batch_shape == (3,),
        lambda: does(lambda: stats.multivariate_normal(np.zeros((3, 2)), EYES)),
        lambda: does(lambda: G.multivariate_normal(np.zeros((3, 2)), EYES)),
    ),
    "`Independent`": (
        lambda: hasattr(fd, "Independent"),
        lambda: hasattr(td, "Independent"),
        lambda: hasattr(stats, "Independent"),
        lambda: hasattr(np.random, "Independent"),
    ),
    "random source for each call": (
        lambda: takes(FD_MVN.sample, "rng"),
        lambda: takes(TD_MVN.sample, "rng", "generator"),
        lambda: takes(stats.multivariate_normal.rvs, "random_state"),
        lambda: does(G.standard_normal),  # a method of one
    ),
    "`out=`": (
        lambda: takes(FD_MVN.sample, "out") and takes(FD_MVN.log_prob, "out") and takes(fd.Normal.cdf, "out"),
        lambda: takes(TD_MVN.sample, "out") or takes(TD_MVN.log_prob, "out"),
        lambda: takes(stats.multivariate_normal.rvs, "out"),
        lambda: does(lambda: G.standard_normal(out=np.empty(2))) and not takes_out(G.normal),
    ),
    "indexing of a batch": (
        lambda: FD_MVN[1:].batch_shape == (2,),
        lambda: does(lambda: TD_MVN[1:]),
        lambda: does(lambda: stats.norm(np.zeros(3), 1.0)[1:]),
        lambda: does(lambda: G[1:]),
    ),
    "`log_cdf`, survival functions": (
        lambda: does(lambda: (fd.Normal(0, 1).log_cdf(0), fd.Normal(0, 1).survival_function(0))),
        lambda: hasattr(td.Normal, "log_cdf") or hasattr(td.Normal, "survival_function"),
        lambda: does(lambda: (stats.norm.logcdf(0), stats.norm.sf(0))),
        lambda: hasattr(G, "cdf"),
    ),
    "KL of `Independent(Normal)` and multivariate normal": (
        lambda: does(lambda: fd.kl_divergence(MIXED, FD_MVN)),
        lambda: alone(KL_BY_TORCH),
        lambda: hasattr(stats, "kl_divergence"),
        lambda: hasattr(np.random, "kl_divergence"),
    ),
    "values checked by default": (
        lambda: not does(lambda: fd.Normal(0.0, -1.0)),
        lambda: not does(lambda: td.Normal(0.0, -1.0)),
        lambda: does(lambda: stats.norm(0.0, -1.0)) and not does(lambda: stats.multivariate_normal([0], [[-1]])),
        lambda: not does(lambda: G.normal(0.0, -1.0)) and does(lambda: G.normal(np.nan, 1.0)),
    ),
    "gradients of draws": (
        lambda: does(lambda: fd.vjp(FD_MVN.rsample, rng=0)[1](1.0)),
        lambda: td.Normal(0.0, LEAF).rsample().requires_grad,
        lambda: hasattr(stats, "vjp"),
        lambda: hasattr(np.random, "vjp"),
    ),
}  # fmt: skip


def takes_out(function):
    return does(lambda: function(out=np.empty(2)))


@pytest.mark.usefixtures("validating")
def test_who_has_it():
    rows = {}
    for part in parts(README):
        if isinstance(part, Row) and part.heads[:3] == ["", "fastdist", "torch"] and part.cells != part.heads:
            rows[part.cells[0]] = dict(zip(part.heads[1:], part.cells[1:], strict=True))
    assert set(CHECKS) <= set(rows)
    for what, checks in CHECKS.items():
        for who, check in zip(("fastdist", "torch", "scipy", "numpy"), checks, strict=True):
            assert check() == (rows[what][who] != "–"), (what, who)
