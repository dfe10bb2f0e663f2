"""No result of a public method has changed a bit since tests/golden.json was recorded; see golden.py."""

import golden
import pytest


@pytest.fixture(scope="module")
def recorded():
    return golden.load(golden.FILE)


@pytest.mark.parametrize(
    ("group", "method"), [(group, method) for group in golden.GROUPS for method in golden.methods_of(group)]
)
def test_golden_bits(group, method, recorded):
    bits, same = recorded
    found = list(golden.differences(bits, golden.bits_of(group, method, same)))
    assert not found, "\n".join(found)


def test_nothing_of_record_is_left_out(recorded):
    bits, _ = recorded
    keys = {}
    for group in golden.GROUPS:
        for page, method, _, needs, _ in golden.cases_of(group):
            keys.setdefault(f"{group}/{page}", set()).add(golden.key_of(method, needs))
    assert keys == {page: set(of_page) for page, of_page in bits.items()}
