"""The hot path costs what it cost. Instructions are counted, not time, so that a busy machine changes nothing."""

from shutil import which

import pytest
from loadtest.bench.instructions import budget, counted, excess, not_comparable

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def count():
    if which("valgrind") is None:
        pytest.skip("there is no valgrind on this machine (Debian: apt-get install valgrind)")
    if reason := not_comparable():
        pytest.skip(f"{reason}; python -m loadtest.bench.instructions makes one for this")
    return counted()


def test_a_thousand_hot_requests_are_within_their_budget(count):
    assert not (said := excess(count, budget())), said
    assert count.total > 0.9 * budget().total, (
        "they take less now: python -m loadtest.bench.instructions writes it down"
    )
