"""The stream broken on purpose, one piece of tests/reference.py at a time, for the checks to find.

python tests/statistics/broken.py 4e6                    what they make of each, on so many normals
    python tests/statistics/broken.py 1e8 "tail untested"    of one of them
"""

import contextlib
import sys
from pathlib import Path
from unittest import mock

import checks
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
import reference

KEY = (2**63 + 12345, 2**62 + 6789)
whole = {
    name: getattr(reference, name)
    for name in ("blocks", "philox", "keyed_hash", "finish", "signed_unit", "unit", "log_unit")
}


def few_blocks(key, numbers, code):
    return whole["blocks"](key, np.asarray(numbers, np.uint64) % np.uint64(1000), code)


def lanes_in_step(key, numbers, code):
    words = whole["blocks"](key, numbers, code).reshape(-1, 128, 8)
    words[:, :, 1] = words[:, :, 0]
    return words.reshape(-1, 1024)


def philox_of_rounds(rounds):
    def philox(counter, key):
        c0, c1, c2, c3 = (reference.u64(c) for c in counter)
        for _ in range(rounds):
            p0, p1 = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
            c0, c1, c2, c3 = (
                (p1 >> np.uint64(32)) ^ c1 ^ np.uint64(key[0]),
                p1 & reference.LOW,
                (p0 >> np.uint64(32)) ^ c3 ^ np.uint64(key[1]),
                p0 & reference.LOW,
            )
        return c0, c1, c2, c3

    return philox


def weak_lanes(key, numbers, code):
    """SFC64 without its feedback: c is rotated only."""
    lane = np.arange(8, dtype=np.uint64)
    first = (reference.u64(numbers)[:, None] << np.uint64(6)) + np.uint64(code) + np.uint64(2) * lane
    a, b = reference.keyed_hash(key, first)
    c, _ = reference.keyed_hash(key, first + np.uint64(1))
    words = np.empty((len(numbers), 128, 8), dtype=np.uint64)
    for step in range(128):
        words[:, step] = a + b + np.uint64(step + 1)
        a = b ^ (b >> np.uint64(11))
        b = c + (c << np.uint64(3))
        c = c << np.uint64(24) | c >> np.uint64(40)
    return words.reshape(-1, 1024)


def signed_unit_of_layer_bits(word):
    """t from bits that also choose the layer."""
    return whole["signed_unit"](word >> np.uint64(12))


def short_signed_unit(word):
    return whole["signed_unit"](word >> np.uint64(28) << np.uint64(28))


def side_draws_by_block(key, position, word):
    return whole["finish"](key, position >> np.uint64(10), word)


def only_above(log):
    """The first of a tail's two logarithms as it is; the second one makes every test succeed."""
    calls = [0]

    def log_unit(u):
        calls[0] += 1
        return log(u) if calls[0] % 2 else np.full_like(u, -1e6)

    return log_unit


ALARM = 1e-3
# Those that take more numbers to see: what share of the long battery's.
HARD = {"tail untested": 8, "points above the curve taken": 1}
BREAKAGES = {
    "wedges as likely as layers": {"pick": lambda word: np.maximum(reference.layer_of(word), 2)},
    "all wedges the cap": {"pick": lambda word: np.full(len(word), 2)},
    "tail as one value": {"log_unit": lambda u: np.full_like(u, -1e-9)},
    "only 1000 blocks": {"blocks": few_blocks},
    "two lanes alike": {"blocks": lanes_in_step},
    "Philox of one round": {"philox": philox_of_rounds(1)},
    "Philox of two rounds": {"philox": philox_of_rounds(2)},
    "SFC64 without feedback": {"blocks": weak_lanes},
    "layer from bits of t": {"signed_unit": signed_unit_of_layer_bits},
    "t of 24 bits": {"signed_unit": short_signed_unit},
    "side draws shared by a block": {"finish": side_draws_by_block},
    "one point in each wedge": {"unit": lambda word: whole["unit"](word) * 0 + 0.25},
    "points above the curve taken": {"gauss": lambda x: np.full_like(x, 2.0)},
    "tail untested": {"log_unit": only_above(whole["log_unit"])},
}


def results(name, n, chunk=1 << 20, key=KEY):
    """What the checks of normals find in a stream broken in one way."""
    with contextlib.ExitStack() as stack:
        for function, replacement in BREAKAGES[name].items():
            stack.enter_context(mock.patch.object(reference, function, replacement))
        at = 0

        def draw(n):
            nonlocal at
            at += n
            return reference.normals(key, at - n, n)

        return checks.run([*checks.of_normals(), checks.Distinct()], draw, n, chunk)


def summary(name, n):
    """How many checks caught it, of how many, and the one with the smallest p-value: (p, name)."""
    found = results(name, n, 1 << 21)
    ranked = sorted((checks.two_sided(p), test) for test, p in found)
    return sum(p < ALARM / len(found) for p, _ in ranked), len(found), ranked[0]


def main():
    for name in sys.argv[2:] or BREAKAGES:
        caught, tried, (p, test) = summary(name, int(float(sys.argv[1])))
        print(f"{name:32} {caught:3} of {tried} caught it, {p:8.2g}  {test}", flush=True)


if __name__ == "__main__":
    main()
