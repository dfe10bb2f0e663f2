"""Writes tests/data/block_sfc64.json: numbers of BlockSFC64 by tests/reference.py, for whoever ports it.

    python tests/known_answers.py      takes half a minute: it looks for rare normals

Whole numbers are hexadecimal, floats in C's %a notation; positions are decimal.
"""

import json
from pathlib import Path

import numpy as np
import reference

FILE = Path(__file__).parent / "data" / "block_sfc64.json"

PI = (0x243F6A8885A308D3, 0x13198A2E03707344)
KEYS = ((0, 0), (1, 0), (0, 1), (2**64 - 1, 2**64 - 1), PI)
SEEDS = (0, 1, 12345, 2**100 + 7, [1, 2, 3])

# Starts of stretches: a stream's, within a block, over the ends of blocks and of lanes' words, over
# 32 bits of blocks, over the carry into the key's second word, far on, around the end.
STARTS = (0, 1023, 5000, 2**32 - 3, 2**42 - 2, 2**58 - 4, 2**58 + 2**57 + 1000, 2**96 - 1, 2**122 - 5)
LENGTH = 12

# How many normals to search for rare ones, in chunks.
SEARCHED, CHUNK = 1 << 28, 1 << 22


def stretches(key, starts=STARTS):
    return [
        {
            "position": start,
            "raw": [f"{int(word):016x}" for word in reference.raw_words(key, start, LENGTH)],
            "normal": [float(x).hex() for x in reference.normals(key, start, LENGTH)],
            "float32": [float(x).hex() for x in reference.normals(key, start, LENGTH).astype(np.float32)],
        }
        for start in starts
    ]


def kinds(x, draws, end):
    """What is rare about a normal that was no plain hit; the first three of each are kept."""
    sign = "+" if x > 0 else "-"
    yield f"{end}, side draws: {draws}"
    if end == "tail":
        yield f"tail {sign}, beyond {min(int(2 * abs(x)) / 2, 6)}"


def rare(key):
    kept, count = [], {}
    for first in range(0, SEARCHED, CHUNK):
        x = reference.normals(key, first, CHUNK)
        for index, draws, end in zip(*reference.rejections(key, first, CHUNK), strict=True):
            for kind in kinds(x[index], draws, end):
                count[kind] = count.get(kind, 0) + 1
                if count[kind] <= 3:
                    value = x[index]
                    kept.append(
                        {
                            "position": int(first + index),
                            "kind": kind,
                            "normal": float(value).hex(),
                            "float32": float(np.float32(value)).hex(),
                        }
                    )
    return sorted(kept, key=lambda entry: (entry["kind"], entry["position"]))


def of_seed(seed):
    return [int(word) for word in np.random.SeedSequence(seed).generate_state(2, np.uint64)]


def hexes(key):
    return [f"{word:016x}" for word in key]


def main():
    answers = {
        "keys": [{"key": hexes(key), "stretches": stretches(key)} for key in KEYS],
        "seeds": [
            {"seed": seed, "key": hexes(of_seed(seed)), "stretches": stretches(of_seed(seed), STARTS[:2])}
            for seed in SEEDS
        ],
        "rare": {"key": hexes(PI), "normals": rare(PI)},
    }
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(answers, indent=1) + "\n")


if __name__ == "__main__":
    main()
