"""Statistical checks that take their numbers chunk by chunk, and p-values for them.

Each check has ``update(x)`` and ``results()``, a list of (name, p). A p-value is uniform on [0, 1] if the
numbers are what they should be, at either end of it something is wrong: the two-sided p-value is
``two_sided(p)``. Counts of rare events have mid-p-values, which are uniform as nearly as can be.
"""

import math

import mpmath
import numpy as np

import fastdist as fd

NORMAL = fd.Normal(0.0, 1.0)


# ---- p-values --------------------------------------------------------------------------------


def two_sided(p):
    return 2 * min(p, 1 - p)


def p_of_z(z):
    """Of a standard normal: how probable is as much or more."""
    return math.erfc(z / math.sqrt(2)) / 2


def p_of_chi2(chi2, df):
    if df > 1000:  # Wilson and Hilferty's approximation
        return p_of_z(((chi2 / df) ** (1 / 3) - (1 - 2 / (9 * df))) / math.sqrt(2 / (9 * df)))
    return float(mpmath.gammainc(mpmath.mpf(df) / 2, mpmath.mpf(chi2) / 2, mpmath.inf, regularized=True))


def p_of_count(count, expected):
    """Of a Poisson variable: as many or more, those as many counted half."""
    if expected > 1e4:
        return p_of_z((count - expected) / math.sqrt(expected))
    fewer = float(mpmath.gammainc(count, expected, mpmath.inf, regularized=True)) if count else 0.0
    no_more = float(mpmath.gammainc(count + 1, expected, mpmath.inf, regularized=True))
    return 1 - (fewer + no_more) / 2


def p_of_ks(u):
    """Of Kolmogorov and Smirnov's distance between numbers and the uniform distribution (Stephens 1970)."""
    n, u = len(u), np.sort(u)
    up = (np.arange(1, n + 1) / n - u).max()
    down = (u - np.arange(n) / n).max()
    t = max(up, down) * (math.sqrt(n) + 0.12 + 0.11 / math.sqrt(n))
    if t < 0.2:  # the series converges slowly, to 1
        return 1.0
    return min(1.0, max(0.0, 2 * sum((-1) ** (k - 1) * math.exp(-2 * k * k * t * t) for k in range(1, 60))))


def chi2_of(counts, expected):
    return float((np.square(counts - expected) / expected).sum())


def tail(x):
    """P(normal > x)."""
    return math.erfc(x / math.sqrt(2)) / 2


# ---- checks of normals -----------------------------------------------------------------------


class Moments:
    """Means of x, x**2, ... x**6 against 0, 1, 0, 3, 0, 15, in units of their standard errors."""

    EXACT = (1, 0, 1, 0, 3, 0, 15, 0, 105, 0, 945, 0, 10395)

    def __init__(self):
        self.n, self.sums = 0, np.zeros(7)

    def update(self, x):
        self.n += len(x)
        power = np.ones_like(x)
        for k in range(1, 7):
            power *= x
            self.sums[k] += power.sum()

    def results(self):
        found = []
        for k in range(1, 7):
            variance = self.EXACT[2 * k] - self.EXACT[k] ** 2
            z = (self.sums[k] / self.n - self.EXACT[k]) / math.sqrt(variance / self.n)
            found.append((f"moment {k}", p_of_z(z)))
        return found


class Uniformity:
    """The numbers mapped back through the cdf, u: chi square of 4096 bins, of pairs in 64 x 64 bins at
    some distances, and Kolmogorov and Smirnov's test of portions of 2**17, whose p-values are tested the same way.
    """

    BINS, SIDE, PORTION = 4096, 64, 1 << 17

    def __init__(self, lags=(1, 8), ks_every=8):
        self.counts = np.zeros(self.BINS)
        self.pairs = {lag: np.zeros(self.SIDE**2) for lag in lags}
        self.ks, self.ks_every, self.portion = [], ks_every, 0

    def update(self, x):
        for start in range(0, len(x), self.PORTION):
            self.update_portion(x[start : start + self.PORTION])

    def update_portion(self, x):
        u = NORMAL.cdf(x)
        bins = (u * self.BINS).astype(np.int64)
        np.minimum(bins, self.BINS - 1, out=bins)
        self.counts += np.bincount(bins, minlength=self.BINS)
        coarse = bins >> 6
        for lag, counts in self.pairs.items():
            # Pairs without a common member: whole stretches of 2 * lag.
            n = len(coarse) // (2 * lag) * 2 * lag
            both = coarse[:n].reshape(-1, 2, lag)
            counts += np.bincount((both[:, 0] * self.SIDE + both[:, 1]).ravel(), minlength=self.SIDE**2)
        if len(u) == self.PORTION:
            if self.portion % self.ks_every == 0:
                self.ks.append(p_of_ks(u))
            self.portion += 1

    def results(self):
        found = [("chi square, 4096 bins", self.chi2(self.counts))]
        for lag, counts in self.pairs.items():
            found.append((f"chi square of pairs {lag} apart, 64 x 64 bins", self.chi2(counts)))
        if len(self.ks) > 1:
            found.append((f"KS of {len(self.ks)} KS tests of 2^17", p_of_ks(np.array(self.ks))))
        return found

    def chi2(self, counts):
        return p_of_chi2(chi2_of(counts, counts.sum() / len(counts)), len(counts) - 1)


class Tails:
    """How many lie beyond 3, 3.5, ... 6.5 on each side, and how those beyond 4.04 are distributed.

    From 4.024 on all numbers are made in another way.
    """

    START = 4.04
    EDGES = (3, 3.5, 4, START, 4.5, 5, 5.5, 6, 6.5)

    def __init__(self):
        self.n, self.beyond = 0, []

    def update(self, x):
        self.n += len(x)
        self.beyond.append(x[np.abs(x) > self.EDGES[0]].copy())

    def results(self):
        x, found = np.concatenate(self.beyond), []
        for sign in (1, -1):
            for edge in self.EDGES:
                p = p_of_count(int((sign * x > edge).sum()), self.n * tail(edge))
                found.append((f"count beyond {sign * edge:+}", p))
            far = sign * x[sign * x > self.START]
            if len(far) > 20:
                u = NORMAL.survival_function(far) / tail(self.START)
                found.append((f"KS of those beyond {sign * self.START:+}", p_of_ks(u)))
        return found


class NearZero:
    """How many are closer to 0 than 2**-8, 2**-12, ... 2**-32, and how many are 0."""

    def __init__(self):
        self.n, self.near = 0, []

    def update(self, x):
        self.n += len(x)
        self.near.append(x[np.abs(x) < 2.0**-8].copy())

    def results(self):
        x, found = np.abs(np.concatenate(self.near)), []
        for k in range(8, 33, 4):
            expected = self.n * math.erf(2.0**-k / math.sqrt(2))
            if expected > 1e-3:
                found.append((f"count within 2^-{k}", p_of_count(int((x < 2.0**-k).sum()), expected)))
        found.append(("count of zeros", p_of_count(int((x == 0).sum()), self.n * 2.0**-52)))
        return found


class Signs:
    """Runs of 16 signs as numbers: 65536 bins."""

    def __init__(self):
        self.counts = np.zeros(1 << 16)

    def update(self, x):
        bits = np.packbits(np.signbit(x[: len(x) // 16 * 16]))
        self.counts += np.bincount(bits.view(np.uint16), minlength=1 << 16)

    def results(self):
        expected = self.counts.sum() / len(self.counts)
        return [("chi square of 16 signs", p_of_chi2(chi2_of(self.counts, expected), len(self.counts) - 1))]


class Correlation:
    """Of x with x further on, and of x**2: within lanes, across lanes (1 to 7), across blocks (1024)."""

    PIECE = 1 << 13  # which stays in the cache, and is no case for BLAS's threads

    def __init__(self, lags=(1, 2, 3, 4, 5, 6, 7, 8, 16, 128, 1016, 1024, 8192)):
        self.n = dict.fromkeys(lags, 0)
        self.x, self.square = dict.fromkeys(lags, 0.0), dict.fromkeys(lags, 0.0)

    def update(self, x):
        square = x * x - 1
        for lag in self.n:
            self.n[lag] += len(x) - lag
            for start in range(0, len(x) - lag, self.PIECE):
                here, there = slice(start, start + self.PIECE), slice(start + lag, start + lag + self.PIECE)
                n = len(x[there])
                self.x[lag] += float(x[here][:n] @ x[there])
                self.square[lag] += float(square[here][:n] @ square[there])

    def results(self):
        found = []
        for lag, n in self.n.items():
            found.append((f"correlation {lag} apart", p_of_z(self.x[lag] / math.sqrt(n))))
            found.append((f"correlation of squares {lag} apart", p_of_z(self.square[lag] / 2 / math.sqrt(n))))
        return found


class LowBits:
    """The last 12 bits of the doubles: 4096 bins, and each bit with that of the number before."""

    def __init__(self, every=4):
        self.counts, self.equal, self.n = np.zeros(4096), np.zeros(12), 0
        self.chunk, self.every = 0, every

    def update(self, x):
        self.chunk += 1
        if self.chunk % self.every:
            return
        low = (x.view(np.uint64) & np.uint64(4095)).astype(np.int64)
        self.counts += np.bincount(low, minlength=4096)
        same = (low[:-1:2] ^ low[1::2]) ^ 4095
        counts = np.bincount(same, minlength=4096)
        for bit in range(12):
            self.equal[bit] += counts[(np.arange(4096) >> bit & 1) == 1].sum()
        self.n += len(same)

    def results(self):
        if not self.n:
            return []
        found = [
            (
                "chi square of the last 12 bits",
                p_of_chi2(chi2_of(self.counts, self.counts.sum() / 4096), 4095),
            )
        ]
        for bit, equal in enumerate(self.equal):
            z = (equal - self.n / 2) / math.sqrt(self.n / 4)
            found.append((f"bit {bit} and the same of the number before", p_of_z(z)))
        return found


class Collisions:
    """Equal pairs among 2**16 numbers: as float32, and in the last 32 bits of the doubles."""

    PORTION = 1 << 16

    def __init__(self, every=16):
        self.every, self.portion, self.n = every, 0, 0
        self.float32 = self.bits = 0

    def update(self, x):
        for start in range(0, len(x) - self.PORTION + 1, self.PORTION):
            if self.portion % self.every == 0:
                part = x[start : start + self.PORTION]
                self.float32 += equal_pairs(part.astype(np.float32))
                self.bits += equal_pairs(part.view(np.uint64).astype(np.uint32))
                self.n += 1
            self.portion += 1

    def results(self):
        pairs = self.n * self.PORTION * (self.PORTION - 1) / 2
        if not pairs:
            return []
        return [
            ("equal pairs of float32", p_of_count(self.float32, pairs * sum_of_squares(23))),
            ("equal pairs of 32 last bits", p_of_count(self.bits, pairs * 2.0**-32)),
        ]


class Distinct:
    """Equal pairs among the first doubles: about as many as the doubles' own spacing makes, next to none."""

    def __init__(self, n=1 << 22):
        self.left, self.parts = n, []

    def update(self, x):
        if self.left > 0:
            self.parts.append(x[: self.left].copy())
            self.left -= len(self.parts[-1])

    def results(self):
        x = np.concatenate(self.parts)
        expected = len(x) * (len(x) - 1) / 2 * sum_of_squares(52)
        return [(f"equal pairs among {len(x)} doubles", p_of_count(equal_pairs(x), expected))]


def sum_of_squares(digits):
    """Of the probabilities of all floats with so many digits: density**2 * ulp, binade by binade."""
    binades = (2.0 ** (e - digits) * (math.erf(2.0 ** (e + 1)) - math.erf(2.0**e)) for e in range(-60, 4))
    return sum(binades) / (2 * math.sqrt(math.pi))


def equal_pairs(values):
    """How many pairs are equal, three equal ones being three pairs."""
    values = np.sort(values)
    total, distance = 0, 1
    while count := int((values[distance:] == values[:-distance]).sum()):
        total, distance = total + count, distance + 1
    return total


class BlockHeads:
    """The first eight normals of each block, one a lane, right behind the keyed hash: as one stream."""

    def __init__(self):
        self.checks = [Moments(), Uniformity(ks_every=1), Correlation((1, 2, 4, 7, 8, 16))]

    def update(self, x):
        heads = np.ascontiguousarray(x[: len(x) // 1024 * 1024].reshape(-1, 1024)[:, :8]).ravel()
        for check in self.checks:
            check.update(heads)

    def results(self):
        return [(f"{name}, first of each lane", p) for check in self.checks for name, p in check.results()]


def of_normals():
    return [
        Moments(),
        Uniformity(),
        Tails(),
        NearZero(),
        Signs(),
        Correlation(),
        LowBits(),
        Collisions(),
        BlockHeads(),
    ]


def of_interleaved(n):
    """Checks for `n` streams, a number of each in turn."""
    return [
        Moments(),
        Uniformity((1, n)),
        Tails(),
        Correlation((1, 2, 3, n - 1, n, n + 1)),
        Signs(),
        Collisions(),
    ]


# ---- checks of raw words -----------------------------------------------------------------------


class Words:
    """Each of 64 bits, each with the same of the word 1 and 8 before; bytes and pairs of bytes by chi square."""

    LAGS = (1, 8)

    def __init__(self):
        self.n, self.ones, self.bytes = 0, np.zeros(64), np.zeros((8, 256))
        self.pairs, self.changes = np.zeros(1 << 16), {lag: np.zeros(64) for lag in self.LAGS}
        self.n_change = dict.fromkeys(self.LAGS, 0)
        self.equal, self.portions = 0, 0

    def update(self, words):
        self.n += len(words)
        octets = words.view(np.uint8).reshape(-1, 8)
        ones = bits_of(words)
        self.ones += ones
        for k in range(8):
            self.bytes[k] += np.bincount(octets[:, k], minlength=256)
        self.pairs += np.bincount(words.view(np.uint16), minlength=1 << 16)
        for lag in self.LAGS:
            self.changes[lag] += bits_of(words[lag:] ^ words[:-lag])
            self.n_change[lag] += len(words) - lag
        for start in range(0, len(words) - 65535, 1 << 20):
            self.equal += equal_pairs((words[start : start + 65536] >> np.uint64(32)).astype(np.uint32))
            self.portions += 1

    def results(self):
        def bit_p(ones, n):
            """All 64 bits at once."""
            return p_of_chi2(float(np.square((ones - n / 2) / math.sqrt(n / 4)).sum()), 64)

        found = [("chi square of the 64 bits", bit_p(self.ones, self.n))]
        found += [
            (f"chi square of byte {k}", p_of_chi2(chi2_of(self.bytes[k], self.n / 256), 255))
            for k in range(8)
        ]
        found.append(("chi square of 16 bits", p_of_chi2(chi2_of(self.pairs, self.n * 4 / 65536), 65535)))
        for lag in self.LAGS:
            p = bit_p(self.changes[lag], self.n_change[lag])
            found.append((f"chi square of the 64 bits with those {lag} before", p))
        expected = self.portions * 65536 * 65535 / 2 / 2**32
        found.append(("equal pairs of 32 first bits", p_of_count(self.equal, expected)))
        return found


def bits_of(words):
    """How many words have each bit set."""
    total = np.zeros(64)
    octets = words.view(np.uint8).reshape(-1, 8)
    for k in range(8):
        counts = np.bincount(octets[:, k], minlength=256)
        for bit in range(8):
            total[8 * k + bit] = counts[(np.arange(256) >> bit & 1) == 1].sum()
    return total


# ---- sources -----------------------------------------------------------------------------------


def interleaved(bit_generators, n):
    """`n` normals, one of each stream in turn, from where the streams are."""
    return np.stack([fd.standard_normal(n // len(bit_generators), rng=b) for b in bit_generators], 1).ravel()


def neighbours(seed):
    """16 streams whose keys differ in few bits: the four last of each word, one by one and by counting."""
    first = fd.BlockSFC64(seed)
    key0, key1 = (int(word) for word in first.state["state"]["key"])
    keys = [(key0 ^ a, key1 ^ b) for a in (0, 1, 2, 3) for b in (0, 1, 1 << 31, 1 << 63)]
    return [with_key(key) for key in keys]


def with_key(key):
    b = fd.BlockSFC64(0)
    state = b.state
    state["state"]["key"] = np.array(key, np.uint64)
    b.state = state
    return b


def small_keys():
    """16 streams of the keys (0, 0), (1, 0), ... and (0, 1), (0, 2), ..., which no seed is likely to give."""
    return [with_key(key) for key in [(k, 0) for k in range(8)] + [(0, k) for k in range(1, 9)]]


def run(checks, draw, n, chunk=1 << 21):
    """Feeds `n` numbers to all checks; their results."""
    while n > 0:
        x = draw(min(chunk, n))
        if not len(x):
            raise ValueError("nothing drawn")
        for check in checks:
            check.update(x)
        n -= len(x)
    return [result for check in checks for result in check.results()]
