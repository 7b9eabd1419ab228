"""Whether every replica gets its share."""

from collections.abc import Iterator, Sequence

from apidex.terminal import counted
from loadtest.analysis import Analysis, Share, shares
from loadtest.checks.check import CheckResult

_MIN_SHARE, _MIN_PART = 0.1, 0.4
"""The least share of a replica, of all requests; where there are more than four, the least part of a fair share."""

_SOON_BY_REQUEST, _SOON = 2.0, 10.0
"""Seconds after which an added replica has its share, where a balancer chooses by request, and where by connection."""

_MIN_P_VALUE = 1e-4
"""How seldom a fair spread looks as uneven by chance as what fails the check."""


def fair_spread(run: Analysis) -> Iterator[CheckResult]:
    """New connections are spread as by chance, and kept-alive ones reach every replica."""
    new, kept = shares(run.requests, kept_alive=False), shares(run.requests, kept_alive=True)
    replicas = run.facts.replicas
    p_value = _p_value([share.answers for share in new], replicas)
    yield CheckResult(
        "spread of new connections",
        p_value >= _MIN_P_VALUE,
        f"p = {p_value:.3g}",
        f"p of at least {_MIN_P_VALUE:g} (chi-square, {len(new) - 1} degrees of freedom)",
        f"New connections: {_shown(new)}; so uneven by chance {p_value:.2%} of the time.",
    )
    least, most = (kept[-1].share, kept[0].share) if len(kept) == replicas else (0.0, 1.0)
    yield CheckResult(
        "spread of kept-alive connections",
        least >= _least_share(replicas) and most <= 4 * least,
        round(most / least, 2) if least else "a replica got none",
        f"each at least {100 * _least_share(replicas):.2g} %, the most at most 4 times the least",
        f"Kept-alive connections: {_shown(kept)}.",
    )


def added_replica_has_its_share(run: Analysis) -> Iterator[CheckResult]:
    """Soon after a replica was added, every replica has a share of the kept-alive connections.

    By request at once; otherwise as connections are replaced.
    """
    if not run.history.faults:
        return  # interrupted before; `faults_were_injected` fails
    added, *removed = run.history.faults
    since = added.ended + (_SOON_BY_REQUEST if run.facts.by_request else _SOON)
    until = removed[0].began if removed else run.facts.seconds
    later = [request for request in run.requests if since <= request.sent < until]
    kept = shares(later, kept_alive=True)
    least = min((share.share for share in kept), default=0.0)
    yield CheckResult(
        "replicas that answer, with the one that was added",
        len(kept) == added.replicas,
        len(kept),
        str(added.replicas),
        f"Kept-alive connections reached {counted(len(kept), 'replica')}.",
    )
    yield CheckResult(
        "least share of a replica, with the one that was added",
        least >= _least_share(run.facts.replicas),
        round(least, 3),
        f"at least {_least_share(run.facts.replicas):.2g}",
        f"Kept-alive connections: {_shown(kept)}.",
    )


def _least_share(replicas: int) -> float:
    return min(_MIN_SHARE, _MIN_PART / replicas)


def _p_value(counts: Sequence[int], replicas: int) -> float:
    from scipy import stats  # takes a second: only where a verdict is reached

    if len(counts) > 1 and len(counts) == replicas:
        return float(stats.chisquare(counts).pvalue)
    return float(replicas == 1)


def _shown(found: Sequence[Share]) -> str:
    return ", ".join(f"{share.share:.1%} (± {(share.high - share.low) / 2:.1%})" for share in found)
