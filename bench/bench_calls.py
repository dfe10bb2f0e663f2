"""Times of the calls in the tables (cases.py), fastdist's and its peers', by pytest-benchmark."""

import peers
import pytest
from cases import CASES, FRESH, OUT

CALLS = [
    pytest.param(case, peer, kind, id=f"{case.title}, {kind} {peer.name}")
    for case in CASES
    for kind in (OUT, FRESH)
    for peer in peers.installed()
    if case.isa is None and kind in case.kinds and hasattr(peer, case.verb)
]


@pytest.mark.parametrize(("case", "peer", "kind"), CALLS)
def bench_call(benchmark, case, peer, kind):
    statement = peers.statements(case.verb, case.problem, [peer]).get((peer.name, kind))
    if statement is None:
        pytest.skip(f"{peer.name} has none")
    benchmark.group = f"{case.title}, {kind}"
    benchmark(statement.run)
