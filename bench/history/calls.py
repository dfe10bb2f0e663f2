"""Times of the calls in the tables (cases.py), fastdist's alone: how they change with the commits.

`asv run --bench 'mvn_sample float32'` takes those whose title has this in it.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import one_core

one_core.settle()

import peers
from cases import CASES, FRESH, OUT

STATEMENTS = {
    f"{case.title}, {kind}": (case, kind)
    for case in CASES
    for kind in (OUT, FRESH)
    if case.isa is None and case.cpus == 1 and kind in case.kinds and hasattr(peers.Fastdist, case.verb)
}


class Calls:
    """A call of each line of the tables."""

    params = list(STATEMENTS)
    param_names = ["case"]

    def setup(self, title):
        case, kind = STATEMENTS[title]
        statement = peers.statements(case.verb, case.problem, [peers.Fastdist()]).get(("fastdist", kind))
        if statement is None:
            raise NotImplementedError  # asv's word for skipping
        self.call = statement.run

    def time_call(self, title):
        self.call()


class Import:
    """What a program pays first."""

    def timeraw_import(self):
        return "import fastdist"
