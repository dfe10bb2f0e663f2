"""What is compared, and what is promised: pure data, but for the arrays that a problem stands for.

Problem   a batch of Gaussians and how many samples of it
Case      a line of the tables: a verb on a problem, and the ratios that must and shall be reached
CASES     all of them
Curve     how the cost of a verb goes with d, B or S
CURVES    all of them
match     which of both a user asks for

B is the size of the batch, d of an event, S the number of samples of each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

Shape = tuple[int, ...]
# How many times as long as fastdist a peer takes: at least, and what is aimed at, if more.
Target = tuple[float, float | None]

# Kinds of a call, timed apart: results in memory that is there already, or in fresh memory, whose
# pages cost as much as the normals in them; what colour adds to noise that is there already.
OUT, FRESH, COLOUR = KINDS = ("out=", "fresh", "colour alone")


@dataclass(frozen=True)
class Problem:
    """Scalars, or vectors of `dim`.

    `given` is the shape of loc and scale where it is not the batch's, `scale_given` that of scale alone.
    """

    batch: Shape
    dim: int | None = None
    samples: Shape = ()
    dtype: str = "float64"
    given: Shape | None = None
    scale_given: Shape | None = None

    @property
    def shape(self) -> Shape:
        return self.samples + self.batch + self._event

    @property
    def n_sample(self) -> int:
        return math.prod(self.samples)

    @cached_property
    def loc(self) -> np.ndarray:
        return self._normal(0, *self._params, *self._event)

    @cached_property
    def scale(self) -> np.ndarray:
        """Standard deviations, or covariance matrices."""
        if self.dim is None:
            shape = self._params if self.scale_given is None else self.scale_given
            return np.asarray(0.5 + abs(self._normal(1, *shape)), self.dtype)
        a = self._normal(1, *self._params, self.dim, 2 * self.dim)
        covariance = a @ a.swapaxes(-1, -2)
        covariance *= 2 / self.dim
        return covariance

    @cached_property
    def tril(self) -> np.ndarray:
        return np.linalg.cholesky(self.scale)

    @cached_property
    def value(self) -> np.ndarray:
        return self._normal(2, *self.shape)

    @property
    def _event(self) -> Shape:
        return () if self.dim is None else (self.dim,)

    @property
    def _params(self) -> Shape:
        return self.batch if self.given is None else self.given

    def _normal(self, seed: int, *shape: int) -> np.ndarray:
        return np.asarray(np.random.default_rng(seed).standard_normal(shape, self.dtype))


@dataclass(frozen=True)
class Case:
    """One verb (a method of the classes in peers.py) on one problem.

    `targets` are by peer, and hold for each of the `judged` kinds; `main` is the kind that the README
    shows, if any. Two peers are no contenders: "fresh" is fastdist without `out=`, "limit" takes nothing. An
    `allowance`, in seconds, is added to what peers take.
    """

    group: str
    what: str
    verb: str
    problem: Problem
    targets: Mapping[str, Target] = field(default_factory=dict)
    kinds: tuple[str, ...] = KINDS
    judged: tuple[str, ...] = (OUT, FRESH)
    main: str | None = None
    isa: str | None = None  # None: the best one
    cpus: int = 1
    allowance: float = 0.0

    @property
    def key(self) -> tuple[str, str, str]:
        return self.group, self.what, self.problem.dtype

    @property
    def title(self) -> str:
        return " ".join((self.verb, *self.key))


DTYPES = ("float64", "float32")
MILLION = 10**6


def noise() -> list[Case]:
    group, verb = "Noise", "noise_sample"
    targets: dict[str, dict[str, Target]] = {
        "float64": {"numpy": (10, 14), "torch": (20, 26), "mkl_random": (2.6, 3.5)},
        "float32": {"numpy": (9, 13), "torch": (4.4, 6)},
    }
    scalar: dict[str, dict[str, Target]] = {"float64": {"numpy": (3.3, 4.5)}}
    cases = []
    for dtype in DTYPES:
        million = Problem((), None, (MILLION,), dtype)
        main = OUT if dtype == "float64" else None
        wanted = scalar.get(dtype, {})
        cases += [
            Case(group, "1M normals", verb, million, targets[dtype], judged=(OUT,), main=OUT),
            Case(group, "1M normals, avx2", verb, million, kinds=(OUT,), isa="avx2"),
            Case(group, "1M normals, scalar", verb, million, wanted, (OUT,), isa="scalar", main=main),
        ]
    return [
        *cases,
        Case(group, "shape (3, 2)", verb, Problem((3, 2)), {"numpy": (4, 6)}, (FRESH,), main=FRESH),
        Case(group, "shape (3, 2)", verb, Problem((3, 2), dtype="float32"), {"numpy": (3, 4)}, (FRESH,)),
        Case(group, "shape (2000,)", verb, Problem((2000,)), {"numpy": (6, 10)}, (FRESH,)),
        Case(
            group, "shape (3, 2), from a seed", "noise_seeded", Problem((3, 2)), {"numpy": (3, 10)}, (FRESH,)
        ),
        Case(group, "100000 uniforms", "uniform", Problem((100_000,)), {"numpy": (0.95, 1.1)}, (OUT, FRESH)),
        Case(group, "a uniform", "uniform", Problem(()), {"numpy": (0.95, 1.1)}, (FRESH,)),
        Case(
            group,
            "1M normals, 2 workers",
            "noise_workers",
            Problem((), None, (MILLION,)),
            {"1 worker": (1.8, 1.95)},
            (OUT,),
            cpus=2,
        ),
    ]


def mvn_sample() -> list[Case]:
    rows: list[tuple[int, int, int, dict[str, tuple[Target, Target]]]] = [
        # B, d, S, and targets: float64, float32
        (1, 2, MILLION, {"torch": ((12, 20), (12, None)), "numpy": ((9, 13), (12, None))}),
        (10_000, 2, 100, {"torch": ((12, 20), (12, None)), "numpy": ((9, 13), (12, None))}),
        (256, 8, 1000, {"torch": ((30, 60), (16, None)), "numpy": ((8, 12), (8, None))}),
        (64, 32, 1000, {"torch": ((80, 120), (70, None)), "numpy": ((6, 8), (8, None))}),
        (16, 128, 1000, {"torch": ((150, 220), (150, None)), "numpy": ((3.2, 4.2), (4.8, None))}),
        (4, 512, 1000, {"torch": ((300, 450), (300, None)), "numpy": ((2.3, 3), (3, None))}),
    ]
    return [
        Case(
            "MultivariateNormal, sample",
            f"(B, d, S) = ({b}, {d}, {s})",
            "mvn_sample",
            Problem((b,), d, (s,), dtype),
            {peer: both[column] for peer, both in targets.items()},
            main=FRESH if dtype == "float64" else None,
        )
        for column, dtype in enumerate(DTYPES)
        for b, d, s, targets in rows
    ]


def independent_sample() -> list[Case]:
    patterns: dict[str, Shape] = {
        "scalar": (),
        "row": (1000,),
        "column": (1000, 1),
        "full": (1000, 1000),
    }
    targets: dict[str, dict[str, Target]] = {
        "float64": {"torch": (15, None), "numpy": (9, None)},
        "float32": {"torch": (6, None), "numpy": (9, None)},
    }
    return [
        Case(
            "Independent(Normal), 1M elements",
            f"sample, {name} parameters",
            "independent_sample",
            Problem((1000, 1000), None, (), dtype, given),
            targets[dtype],
            main=FRESH if name == "row" else None,
        )
        for dtype in DTYPES
        for name, given in patterns.items()
    ] + [
        Case(
            "Independent(Normal), 1M elements",
            "log_prob, row parameters",
            "independent_log_prob",
            Problem((1000,), None, (1000,), dtype),
        )
        for dtype in DTYPES
    ]


def mvn_log_prob() -> list[Case]:
    small: dict[str, Target] = {"torch": (10, None), "numpy": (4, None)}
    large: dict[str, Target] = {"torch": (4, None), "numpy": (1.5, None)}
    shapes = (10_000, 2, 100), (512, 4, 1000), (256, 8, 1000), (128, 16, 1000), (64, 32, 1000)
    return [
        Case(
            "MultivariateNormal, log_prob",
            f"(B, d, S) = ({b}, {d}, {s})",
            "mvn_log_prob",
            Problem((b,), d, (s,), dtype),
            small if d <= 32 else large,
            main=FRESH if dtype == "float64" and d in (2, 8, 32, 128, 512) else None,
        )
        for dtype in DTYPES
        for b, d, s in (*shapes, (16, 128, 1000), (4, 512, 1000))
    ]


def cholesky() -> list[Case]:
    musts = {2: 15, 4: 15, 8: 5, 16: 3.5, 32: 3.5}
    constructor: dict[int, Target] = {4: (8, 12), 8: (3.5, 5), 16: (1.4, 1.8), 32: (1.5, 2)}
    wanted: dict[tuple[str, int, str], Target] = {
        **{("cholesky", d, dtype): (must, None) for d, must in musts.items() for dtype in DTYPES},
        **{("mvn_construct", d, "float64"): target for d, target in constructor.items()},
    }
    return [
        Case(
            "Cholesky factors of 10000 matrices",
            what.format(d),
            verb,
            Problem((10_000,), d, (), dtype),
            {"numpy": wanted[verb, d, dtype]} if (verb, d, dtype) in wanted else {},
            kinds=(kind,),
            main=kind if dtype == "float64" and d in (4, 32) else None,
        )
        for dtype in DTYPES
        for what, verb, kind in (
            ("factors, d = {}", "cholesky", OUT),
            ("validated constructor, d = {}", "mvn_construct", FRESH),
        )
        for d in musts
    ]


def cdf_family() -> list[Case]:
    """scipy.special's functions in float64, torch.special's in float32, into memory that is there already."""
    musts = {"cdf": 1.5, "log_cdf": 1.5, "icdf": 1.2}
    return [
        Case(
            "The cdf family of 10^6 values",
            f"Normal.{verb}",
            f"special_{verb}",
            Problem((), None, (MILLION,), dtype),
            {"scipy": (must, None)} if dtype == "float64" else {"torch": (0.667, None)},
            kinds=(OUT,),
        )
        for dtype in DTYPES
        for verb, must in musts.items()
    ]


def small_calls() -> list[Case]:
    scalars, vectors = Problem((3, 2)), Problem((3,), 2)
    rows: list[tuple[str, str, Problem, dict[str, Target]]] = [
        ("Normal.sample", "normal_sample", scalars, {"torch": (80, 200), "numpy's bare noise": (3, 6)}),
        ("Normal.log_prob", "normal_log_prob", scalars, {}),
        ("Normal()", "normal_construct", scalars, {}),
        ("Normal.expand", "normal_expand", scalars, {"torch": (4, 8)}),
        ("Normal.entropy", "normal_entropy", scalars, {"torch": (10, 12)}),
        ("Normal.cdf", "normal_cdf", scalars, {"torch": (10, 20)}),
        ("kl_divergence of Normals", "normal_kl", scalars, {"torch": (15, 30)}),
        ("log_prob and its pullback", "normal_gradient", scalars, {"torch": (20, 30)}),
        ("MultivariateNormal.sample", "mvn_sample", vectors, {"torch": (60, None)}),
        ("MultivariateNormal.log_prob", "mvn_log_prob", vectors, {"torch": (40, None)}),
        ("MultivariateNormal()", "mvn_construct", vectors, {"torch": (40, None)}),
        ("MultivariateNormal.expand", "mvn_expand", vectors, {"torch": (4, 8)}),
        ("MultivariateNormal.entropy", "mvn_entropy", vectors, {"torch": (10, 12)}),
        ("kl_divergence of MultivariateNormals", "mvn_kl", vectors, {"torch": (20, 40)}),
    ]
    return [
        Case("Small calls: parameters of shape (3, 2)", what, verb, problem, targets, (FRESH,), main=FRESH)
        for what, verb, problem, targets in rows
    ]


def limits() -> list[Case]:
    """What peers have not: `out=` may cost 1.5 fresh calls, a moment 0.3 µs, an index NumPy's of all arrays,
    twice, and 1.5 µs."""
    group = "Small calls: what they may cost"
    cases = []
    for name, kind in (("Normal", "normal"), ("Independent", "independent"), ("MultivariateNormal", "mvn")):
        problem = Problem((3,), 2) if kind == "mvn" else Problem((3, 2))
        moments = ["mean", "stddev", "variance"] + ["scale_tril"] * (kind == "mvn")
        cases += [
            *(
                Case(
                    group, f"{name}.{verb}, out=", f"{kind}_{verb}", problem, {"fresh": (0.667, None)}, (OUT,)
                )
                for verb in ("sample", "log_prob")
            ),
            Case(
                group,
                f"{name}.{', '.join(moments)}",
                f"{kind}_moments",
                problem,
                {"limit": (1, None)},
                (FRESH,),
                allowance=0.3e-6 * len(moments),
            ),
            Case(
                group,
                f"{name}, d[0] and d[1:]",
                f"{kind}_index",
                problem,
                {"numpy": (1, None)},
                (FRESH,),
                allowance=2 * 1.5e-6,
            ),
        ]
    return cases


def policies() -> list[Case]:
    """A distribution over actions of 6 numbers is made, drawn from, and its draw's density taken."""
    group = "Policies: a batch of environments, 6 actions"
    targets: dict[int, dict[str, Target]] = {64: {"torch": (15, 25)}, 1024: {"torch": (5, 8)}}
    return [
        Case(
            group,
            "Normal(), (64, 6), scale (6,)",
            "normal_construct",
            Problem((64, 6), scale_given=(6,)),
            {"torch": (20, 25)},
            (FRESH,),
        ),
        *(
            Case(
                group,
                f"build, act, score, ({n}, 6), scale {(n, 6) if given is None else '(6,)'}",
                "independent_step",
                Problem((n, 6), scale_given=given),
                wanted,
                (FRESH,),
                main=FRESH if given else None,
            )
            for n, wanted in targets.items()
            for given in ((6,), None)
        ),
    ]


CASES = [
    *noise(),
    *mvn_sample(),
    *independent_sample(),
    *mvn_log_prob(),
    *cholesky(),
    *cdf_family(),
    *small_calls(),
    *limits(),
    *policies(),
]


def match(only: str, title: str) -> bool:
    """True if every word of `only` is in `title`."""
    return all(word in title.lower() for word in only.lower().split())


@dataclass(frozen=True)
class Curve:
    """Problems that differ in d, B or S alone, but for S where d grows: the elements stay as many."""

    verb: str
    axis: str
    dtype: str
    held: str  # what stays
    problems: Mapping[int, Problem]

    @property
    def title(self) -> str:
        return f"{self.verb} {self.dtype} against {self.axis}"


def curves(verb: str, dtype: str) -> list[Curve]:
    n = 2**19
    by_d = {d: Problem((1,), d, (n // d,), dtype) for d in (2**k for k in range(11))}
    by_b = {b: Problem((b,), 8, (100,), dtype) for b in (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)}
    by_s = {s: Problem((1,), 8, (s,), dtype) for s in (10**k for k in range(7))}
    return [
        Curve(verb, "d", dtype, "B = 1, S = 2¹⁹ / d", by_d),
        Curve(verb, "B", dtype, "d = 8, S = 100", by_b),
        Curve(verb, "S", dtype, "d = 8, B = 1", by_s),
    ]


CURVES = [c for verb in ("mvn_sample", "mvn_log_prob") for dtype in DTYPES for c in curves(verb, dtype)]
