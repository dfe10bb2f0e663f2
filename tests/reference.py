"""BlockSFC64 once more, in NumPy and mpmath: written from the description in src_c/stream.h, for the
tests to compare with. It shares neither code nor tables with the package.

    philox                   Philox-4x32-10
    raw_words, normals, uniforms   numbers of a stream from any position on, as the package makes them
    rejections               which of these normals had no layer of the ziggurat, and how they ended
"""

from functools import cache

import mpmath
import numpy as np

BLOCK, LANES, LAYERS = 1024, 8, 1024
OUTSIDE, TAIL = 3, 1023
POSITIONS = 1 << 58
PERIOD = 1 << 122
NORMAL, RAW, SIDE = 0, 16, 32
UNIFORM_BLOCKS = 1 << 48  # the number of the uniforms' first block

LOW = np.uint64(0xFFFFFFFF)


def u64(value):
    return np.asarray(value, dtype=np.uint64)


# ---- words -----------------------------------------------------------------------------------


def philox(counter, key):
    """Ten rounds on four 32-bit words under a key of two; each may be an array of uint64."""
    c0, c1, c2, c3 = (u64(c) for c in counter)
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (
            (p1 >> np.uint64(32)) ^ c1 ^ np.uint64(k0),
            p1 & LOW,
            (p0 >> np.uint64(32)) ^ c3 ^ np.uint64(k1),
            p0 & LOW,
        )
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return c0, c1, c2, c3


def keyed_hash(key, counter):
    """Two 64-bit words for each of an array of 64-bit counters, under a stream's key of 128 bits."""
    counter = u64(counter)
    key0, key1 = (int(k) for k in key)
    words = (counter & LOW, counter >> np.uint64(32), key1 % 2**32, key1 >> 32)
    c0, c1, c2, c3 = philox(words, (key0 % 2**32, key0 >> 32))
    return c0 | c1 << np.uint64(32), c2 | c3 << np.uint64(32)


def blocks(key, numbers, code):
    """Blocks of 1024 words, one for each of an array of block numbers."""
    lane = np.arange(LANES, dtype=np.uint64)
    first = (u64(numbers)[:, None] << np.uint64(6)) + np.uint64(code) + np.uint64(2) * lane
    a, b = keyed_hash(key, first)
    c, _ = keyed_hash(key, first + np.uint64(1))
    words = np.empty((len(numbers), BLOCK // LANES, LANES), dtype=np.uint64)
    for step in range(BLOCK // LANES):
        word = a + b + np.uint64(step + 1)
        a = b ^ (b >> np.uint64(11))
        b = c + (c << np.uint64(3))
        c = (c << np.uint64(24) | c >> np.uint64(40)) + word
        words[:, step] = word
    return words.reshape(-1, BLOCK)


def segments(key, first, n):
    """(key, position, length) of the stretches that n positions from `first` on fall into."""
    while n > 0:
        carry, position = divmod(first % PERIOD, POSITIONS)
        length = min(n, POSITIONS - position)
        yield (int(key[0]), (int(key[1]) + carry) % 2**64), position, length
        first, n = first + length, n - length


def segment_words(key, position, n, code, first_block=0):
    begin, end = position // BLOCK, (position + n - 1) // BLOCK + 1
    numbers = np.arange(end - begin, dtype=np.uint64) + np.uint64(begin + first_block)
    return blocks(key, numbers, code).ravel()[position - begin * BLOCK :][:n]


def raw_words(key, first, n):
    parts = [segment_words(*segment, RAW) for segment in segments(key, first, n)]
    return np.concatenate([np.empty(0, dtype=np.uint64), *parts])


def uniforms(key, first, n):
    """(k + 1/2) 2^-52, k the upper 52 bits of a word; doubles have just the bits for it."""
    parts = [segment_words(*segment, NORMAL, UNIFORM_BLOCKS) for segment in segments(key, first, n)]
    words = np.concatenate([np.empty(0, dtype=np.uint64), *parts])
    return ((words >> np.uint64(12)) * np.uint64(2) + np.uint64(1)).astype(np.float64) * 2.0**-53


# ---- normals ---------------------------------------------------------------------------------


@cache
def tables():
    """Edges x[0..1023], densities and slacks there, and the alias table (keep, other), as doubles and integers.

    Layer i > 2 is the rectangle below the curve from height f(x[i + 1]), or 0, to f(x[i]); its area is 1 / 1024 of
    that of the curve. Wedge i > 1 lies right of it, x[2] = 0.
    """
    with mpmath.workdps(45):
        whole = mpmath.sqrt(mpmath.pi / 2)

        def f(x):
            return mpmath.exp(-x * x / 2)

        def newton(x, g, slope):
            for _ in range(60):
                step = g(x) / slope(x)
                x -= step
                if abs(step) < mpmath.mpf(10) ** -40:
                    return x
            raise AssertionError("Newton's method does not converge")

        # From below: x (f(x) - bottom) = area, on the branch where the left side falls.
        edges, bottom = [], mpmath.mpf(0)
        for _ in range(LAYERS - OUTSIDE):
            edges.append(
                newton(
                    edges[-1] if edges else mpmath.mpf(4),
                    lambda x, bottom=bottom: x * (f(x) - bottom) - whole / LAYERS,
                    lambda x, bottom=bottom: f(x) * (1 - x * x) - bottom,
                )
            )
            bottom = f(edges[-1])
        r = edges[0]
        x = [mpmath.mpf(0)] * OUTSIDE + edges[::-1]

        def beyond(x):
            return whole * mpmath.erfc(x / mpmath.sqrt(2))

        slacks, areas = [mpmath.mpf(1)] * (OUTSIDE - 1), [mpmath.mpf(0)] * (OUTSIDE - 1)
        for left, right in zip(x[OUTSIDE - 1 :], x[OUTSIDE:], strict=False):
            areas.append(beyond(left) - beyond(right) - (right - left) * f(right))
            # u + v is largest where the curve is parallel to its chord, if that is where it is concave.
            chord = (f(right) - f(left)) / (right - left)
            slack = mpmath.mpf(1)
            if left < 1 and min(right, 1) * f(min(right, 1)) > -chord:
                touch = newton(
                    (left + right) / 2, lambda x, chord=chord: x * f(x) + chord, lambda x: f(x) * (1 - x * x)
                )
                rise = (f(touch) - f(right)) / (f(left) - f(right))
                slack = max(slack, (touch - left) / (right - left) + rise)
            slacks.append(slack)
        slacks.append(mpmath.mpf(1))
        areas.append(beyond(r))

        # Vose's alias method on integers: shares of 2^54 each.
        one = 1 << 54
        share = [int(mpmath.nint(area / sum(areas) * LAYERS * one)) for area in areas]
        share[max(range(LAYERS), key=share.__getitem__)] += one * LAYERS - sum(share)
        keep, other = [0] * LAYERS, list(range(LAYERS))
        poor = [i for i in range(LAYERS) if share[i] < one]
        rich = [i for i in range(LAYERS) if share[i] >= one]
        while poor:
            i = poor.pop()
            keep[i], other[i] = share[i], rich[-1]
            share[rich[-1]] -= one - share[i]
            if share[rich[-1]] < one:
                poor.append(rich.pop())

        def doubles(numbers):
            return np.array([float(number) for number in numbers])

        return (
            doubles([*x, r]),
            doubles([f(edge) for edge in [*x, r]]),
            doubles(slacks),
            (u64(keep), np.array(other)),
            (float(r), float(1 / r)),
        )


MANTISSA = np.uint64(0x000FFFFFFFFFFFFF)


def layer_of(word):
    return (word >> np.uint64(54)).astype(int)


def signed_unit(word):
    """[-1, 1) from the low 52 bits."""
    return (word & MANTISSA | np.uint64(0x4000000000000000)).view(np.float64) - 3.0


def unit(word):
    """[0, 1) from the low 52 bits."""
    return (word & MANTISSA | np.uint64(0x3FF0000000000000)).view(np.float64) - 1.0


def positive_unit(word):
    """(0, 1] from 53 bits."""
    return ((word >> np.uint64(11)) + np.uint64(1)).astype(np.float64) * 2.0**-53


def gauss(x):
    """exp(-x**2 / 2) in the package's order of operations."""
    factorials = np.cumprod(np.arange(1.0, 16.0))
    ln2_high, ln2_low = float.fromhex("0x1.62e43p-1"), float.fromhex("-0x1.05c610ca86c39p-29")
    magic = 1.5 * 2.0**52
    y = x * x * -0.5
    shifted = y * float.fromhex("0x1.71547652b82fep+0") + magic
    n = shifted - magic
    power = (y - n * ln2_high) - n * ln2_low
    terms = [np.full_like(power, 1.0), *(np.full_like(power, 1.0 / factorial) for factorial in factorials)]
    while len(terms) > 1:
        terms = [low + high * power for low, high in zip(terms[::2], terms[1::2], strict=True)]
        power = power * power
    return (terms[0].view(np.uint64) + (shifted.view(np.uint64) << np.uint64(52))).view(np.float64)


def log_unit(u):
    """log(u) for 0 < u <= 1 in the package's order of operations."""
    m, exponent = np.frexp(u)
    m, exponent = m * 2, exponent - 1
    upper = m > 2**0.5
    m, exponent = np.where(upper, m * 0.5, m), exponent + upper
    s = (m - 1) / (m + 1)
    s2 = s * s
    total = np.zeros_like(s)
    for k in range(21, 0, -2):
        total = total * s2 + 1.0 / k
    return exponent * 0.69314718055994531 + 2 * s * total


def pick(word):
    """The wedge that a word picks: an entry of the alias table by 10 bits, it or its other one by the 54 below."""
    keep, other = tables()[3]
    own = layer_of(word)
    return np.where(word & np.uint64(2**54 - 1) < keep[own], own, other[own])


def finish(key, position, word):
    """The normals of words without a layer, how many side draws they took, and by what they ended."""
    edge, density, slack, _, (r, inverse_r) = tables()
    x, draws = np.empty(len(word)), np.ones(len(word), dtype=int)
    low, high = keyed_hash(key, position << np.uint64(6) | np.uint64(SIDE))
    wedge = pick(low)
    u, v = unit(word), unit(high)
    left = np.arange(len(word))
    for draw in range(1, 31):
        tail = wedge[left] == TAIL
        if draw == 1:
            hit = np.zeros(len(left), dtype=bool)
        else:
            low, high = keyed_hash(key, position[left] << np.uint64(6) | np.uint64(SIDE + draw - 1))
            u, v = unit(low), unit(high)
            draws[left] += 1
            beyond = -log_unit(positive_unit(low)) * inverse_r
            hit = tail & (-2 * log_unit(positive_unit(high)) > beyond * beyond)
            x[left[hit]] = r + beyond[hit]
        i = np.where(tail, OUTSIDE, wedge[left])
        folded = u + v > 1
        u, v = np.where(folded, 1 - u, u) * slack[i], np.where(folded, 1 - v, v) * slack[i]
        point = edge[i] + u * (edge[i + 1] - edge[i])
        under = ~tail & (density[i + 1] + v * (density[i] - density[i + 1]) < gauss(point))
        x[left[under]] = point[under]
        left = left[~(hit | under)]
        if not len(left):
            return (
                np.where(word >> np.uint64(53) & np.uint64(1), -x, x),
                draws,
                np.where(wedge == TAIL, "tail", "wedge"),
            )
    raise AssertionError("30 side draws in vain")


def segment_normals(key, position, n):
    """The normals, and for those without a layer: where, side draws, end."""
    words = segment_words(key, position, n, NORMAL)
    layer = layer_of(words)
    x = signed_unit(words) * tables()[0][layer]
    outside = np.flatnonzero(layer < OUTSIDE)
    x[outside], draws, end = finish(key, outside.astype(np.uint64) + np.uint64(position), words[outside])
    return x, outside, draws, end


def normals(key, first, n):
    parts = [segment_normals(*segment)[0] for segment in segments(key, first, n)]
    return np.concatenate([np.empty(0), *parts])


def rejections(key, first, n):
    """Arrays (index, side draws, end) of the normals among n that had no layer.

    `end` is "wedge" or "tail".
    """
    at, found = 0, []
    for segment in segments(key, first, n):
        _, index, draws, end = segment_normals(*segment)
        found.append((index + at, draws, end))
        at += segment[2]
    return tuple(np.concatenate(part) for part in zip(*found, strict=True))
