"""BlockSFC64 once more, in NumPy and mpmath: written from the description in src_c/stream.h, for the
tests to compare with. It shares neither code nor tables with the package.

    philox                   Philox-4x32-10
    raw_words, normals       numbers of a stream from any position on, as the package makes them
    rejections               which of these normals were no plain hits of the ziggurat, and how they ended
"""

from functools import cache

import mpmath
import numpy as np

BLOCK, LANES, LAYERS = 1024, 8, 1024
POSITIONS = 1 << 58
PERIOD = 1 << 122
NORMAL, RAW, SIDE = 0, 16, 32

LOW = np.uint64(0xFFFFFFFF)

# Where the tail of 1024 layers of equal area begins; tables() checks it.
R = "4.03884984610950452271442340533593120470099195589456473039512"


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
    c, counter = keyed_hash(key, first + np.uint64(1))
    words = np.empty((len(numbers), BLOCK // LANES, LANES), dtype=np.uint64)
    for step in range(BLOCK // LANES):
        word = a + b + counter
        counter = counter + np.uint64(1)
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


def segment_words(key, position, n, code):
    begin, end = position // BLOCK, (position + n - 1) // BLOCK + 1
    numbers = np.arange(end - begin, dtype=np.uint64) + np.uint64(begin)
    return blocks(key, numbers, code).ravel()[position - begin * BLOCK :][:n]


def raw_words(key, first, n):
    parts = [segment_words(*segment, RAW) for segment in segments(key, first, n)]
    return np.concatenate([np.empty(0, dtype=np.uint64), *parts])


# ---- normals ---------------------------------------------------------------------------------


@cache
def tables():
    """Edges x[0..1024] of the layers and the density there, as doubles."""
    with mpmath.workdps(55):
        r = mpmath.mpf(R)
        area = r * mpmath.exp(-r * r / 2) + mpmath.sqrt(mpmath.pi / 2) * mpmath.erfc(r / mpmath.sqrt(2))
        x, f = [area / mpmath.exp(-r * r / 2), r], [mpmath.mpf(0), mpmath.exp(-r * r / 2)]
        while len(x) < LAYERS:
            f.append(f[-1] + area / x[-1])
            x.append(mpmath.sqrt(-2 * mpmath.log(f[-1])))
        top = f[-1] + area / x[-1]
        if abs(top - 1) > 1e-40:
            raise AssertionError(f"the layers end at {top}, not at 1")
        return np.array([*map(float, x), 0.0]), np.array([*map(float, f), 1.0]), float(r), float(1 / r)


def signed_unit(word):
    """[-1, 1) from 52 bits."""
    return (word >> np.uint64(12) | np.uint64(0x4000000000000000)).view(np.float64) - 3.0


def unit(word):
    """[0, 1) from 52 bits."""
    return (word >> np.uint64(12) | np.uint64(0x3FF0000000000000)).view(np.float64) - 1.0


def positive_unit(word):
    """(0, 1] from 53 bits."""
    return ((word >> np.uint64(11)) + np.uint64(1)).astype(np.float64) * 2.0**-53


def gauss(x):
    """exp(-x**2 / 2) in the package's order of operations."""
    factorials = np.cumprod(np.arange(1.0, 14.0))
    ln2_high, ln2_low = float.fromhex("0x1.62e43p-1"), float.fromhex("-0x1.05c610ca86c39p-29")
    magic = 1.5 * 2.0**52
    y = x * x * -0.5
    shifted = y * float.fromhex("0x1.71547652b82fep+0") + magic
    n = shifted - magic
    r = (y - n * ln2_high) - n * ln2_low
    total = np.full_like(r, 1.0 / factorials[-1])
    for factorial in [*factorials[-2::-1], 1.0]:
        total = total * r + 1.0 / factorial
    return (total.view(np.uint64) + (shifted.view(np.uint64) << np.uint64(52))).view(np.float64)


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


def finish(key, position, word):
    """The normals of rejected words, how many side draws they took, and by what they ended."""
    edge, density, r, inverse_r = tables()
    x, draws = np.empty(len(word)), np.zeros(len(word), dtype=int)
    end = np.empty(len(word), dtype="U6")
    word, left = word.copy(), np.arange(len(word))
    for draw in range(31):
        w = word[left]
        layer = (w % np.uint64(LAYERS)).astype(int)
        low, high = keyed_hash(key, position[left] << np.uint64(6) | np.uint64(SIDE + draw))
        t = signed_unit(w)
        draws[left] += 1

        beyond = -log_unit(positive_unit(low)) * inverse_r
        tail = layer == 0
        tail_hit = tail & (-2 * log_unit(positive_unit(high)) > beyond * beyond)
        outside = np.where(t < 0, -(r + beyond), r + beyond)

        inside = t * edge[layer]
        height = density[layer] + unit(low) * (density[np.minimum(layer + 1, LAYERS)] - density[layer])
        wedge_hit = ~tail & (height < gauss(np.where(tail, 0.0, inside)))

        other = (high % np.uint64(LAYERS)).astype(int)
        redrawn = signed_unit(high) * edge[other]
        redraw_hit = ~tail & ~wedge_hit & (np.abs(redrawn) < edge[other + 1])

        x[left] = np.where(tail, outside, np.where(wedge_hit, inside, redrawn))
        for name, hit in (("tail", tail_hit), ("wedge", wedge_hit), ("redraw", redraw_hit)):
            end[left[hit]] = name
        again = ~(tail_hit | wedge_hit | redraw_hit)
        word[left] = np.where(tail, w, high)
        left = left[again]
        if not len(left):
            return x, draws, end
    raise AssertionError("31 side draws in vain")


def segment_normals(key, position, n):
    """The normals, and for those that were rejected at first: where, side draws, end."""
    edge = tables()[0]
    words = segment_words(key, position, n, NORMAL)
    layer = (words % np.uint64(LAYERS)).astype(int)
    x = signed_unit(words) * edge[layer]
    rejected = np.flatnonzero(np.abs(x) >= edge[layer + 1])
    x[rejected], draws, end = finish(key, rejected.astype(np.uint64) + np.uint64(position), words[rejected])
    return x, rejected, draws, end


def normals(key, first, n):
    parts = [segment_normals(*segment)[0] for segment in segments(key, first, n)]
    return np.concatenate([np.empty(0), *parts])


def rejections(key, first, n):
    """Arrays (index, side draws, end) of the normals among n that were rejected at first.

    `end` is "wedge", "redraw" or "tail".
    """
    at, found = 0, []
    for segment in segments(key, first, n):
        _, index, draws, end = segment_normals(*segment)
        found.append((index + at, draws, end))
        at += segment[2]
    return tuple(np.concatenate(part) for part in zip(*found, strict=True))
