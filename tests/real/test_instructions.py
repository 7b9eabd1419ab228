"""The fast path costs no more than its budget of instructions, which do not depend on how busy the machine is."""

import pytest
from loadtest.bench.instructions import budget, count_instructions, excess, not_comparable

from processes import need

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def count():
    need("valgrind")
    if reason := not_comparable():
        pytest.skip(f"{reason}; python -m loadtest.bench.instructions writes one")
    return count_instructions()


def test_a_thousand_requests_are_within_their_budget(count):
    assert not (said := excess(count, budget())), said
    assert count.total > 0.9 * budget().total, (
        "they take less now: write the budget with python -m loadtest.bench.instructions"
    )
