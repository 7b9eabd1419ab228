"""What is broken, when, and what must hold all the same. A scenario is a few lines that act through a `ScenarioRun`."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

from loadtest.nemesis import ScenarioRun

Failures = Literal["none", "none, or in flight", "none after the node is left"]


@dataclass(frozen=True)
class Scenario:
    """*play* breaks things; the rest says what must hold beside what must always hold.

    *failures* says which requests may fail; `none, or in flight` means none where the balancer retries, and otherwise those that
    were in flight to the replica. *shares* asks for a fair spread, *p99_at_most* bounds p99 during the faults as a multiple
    of that before, *no_restarts* forbids that a replica ended, *truthful* asks that replicas told of the upstream's failure.
    *needs* is the verb that not every target has, *seconds* how long it lasts unless told otherwise.
    """

    name: str
    play: Callable[[ScenarioRun], None]
    failures: Failures = "none"
    shares: bool = False
    p99_at_most: float | None = None
    no_restarts: bool = False
    truthful: bool = False
    needs: str = ""
    seconds: float = 60.0

    @property
    def about(self) -> str:
        """What it does, in a sentence."""
        return " ".join((self.play.__doc__ or "").split())


def steady(play: ScenarioRun) -> None:
    """Nothing is broken."""
    play.waits(play.seconds)


def rollout(play: ScenarioRun) -> None:
    """New replicas for old ones, again and again."""
    play.waits(play.recovery)
    while play.goes_on():
        with play.fault("rollout", "all replicas are replaced"):
            play.target.roll_out()
        play.waits(play.recovery)


def scale(play: ScenarioRun) -> None:
    """To half of the replicas, to half more of them than there were, and back, again and again."""
    before = play.replicas
    play.waits(play.recovery)
    try:
        while play.goes_on():
            for replicas in (before // 2, before * 3 // 2, before):
                with play.fault("scale", f"scaled to {replicas} replicas", replicas):
                    play.target.scale(replicas)
                play.waits(play.recovery)
    finally:
        play.target.scale(before)


def drain_node(play: ScenarioRun) -> None:
    """A node is emptied, and the replicas are spread again."""
    play.waits(play.recovery)
    while play.goes_on():
        with play.fault("drain", "a node is drained"), play.target.drained():
            play.target.settle(play.replicas)
            play.waits(play.recovery)
        with play.fault("rollout", "the replicas are spread again"):
            play.target.roll_out()
        play.waits(play.recovery)


def delete_pod(play: ScenarioRun) -> None:
    """A replica is deleted every ten seconds or so."""
    play.waits(play.recovery)
    while play.goes_on():
        victim = play.victim()
        with play.fault("delete", f"{victim} is deleted"):
            play.target.delete(victim)
        play.waits(play.recovery)


def crash(play: ScenarioRun) -> None:
    """kill -9 of a replica every ten seconds."""
    play.waits(play.recovery)
    while play.goes_on():
        victim = play.victim()
        with play.fault("kill", f"kill -9 of {victim}"):
            play.target.kill(victim)
        play.waits(10)
    play.target.settle(play.replicas)


def pause(play: ScenarioRun) -> None:
    """A replica is paused for five seconds, and keeps its connections."""
    play.waits(play.recovery)
    while play.goes_on():
        victim = play.victim()
        with play.fault("pause", f"{victim} is paused"), play.target.paused(victim):
            play.waits(5)
        play.waits(play.recovery)


def lose_node(play: ScenarioRun) -> None:
    """The network of a node is gone for half a minute."""
    play.waits(play.recovery)
    with play.fault("lose-node", "the network of a node is cut"), play.target.cut_off():
        play.waits(max(35.0, play.seconds / 2))
    play.target.settle(play.replicas)
    play.waits(play.recovery)


def _for_a_third(
    play: ScenarioRun, kind: str, what: str, broken: AbstractContextManager[None], at_least: float = 0.0
) -> None:
    """Quiet, *broken*, and quiet again, a third of the time each; broken for so many seconds *at_least*."""
    third = play.seconds / 3
    play.waits(third)
    with play.fault(kind, what), broken:
        play.waits(max(at_least, third))
    play.waits(third)


def redis_down(play: ScenarioRun) -> None:
    """Redis has ended, for a third of the time, and comes back with nothing."""
    _for_a_third(play, "redis", "Redis has ended", play.target.without_redis())


def redis_empty(play: ScenarioRun) -> None:
    """Redis forgets all, again and again."""
    play.waits(play.seconds / 3)
    while play.goes_on():
        with play.fault("redis", "Redis is emptied"):
            play.target.empty_redis()
        play.waits(play.recovery)


def redis_hang(play: ScenarioRun) -> None:
    """Redis takes connections and answers nothing, for a third of the time."""
    _for_a_third(play, "redis", "Redis hangs", play.target.hanging_redis())


def redis_cut(play: ScenarioRun) -> None:
    """What Redis says is lost on the way, for a third of the time."""
    _for_a_third(play, "redis", "Redis is cut off", play.target.unreachable_redis())


def _upstream(play: ScenarioRun, mode: str, what: str) -> None:
    _for_a_third(play, "upstream", what, play.target.upstream(mode), at_least=20.0)


def upstream_down(play: ScenarioRun) -> None:
    """The upstream closes every connection unanswered."""
    _upstream(play, "disconnect", "the upstream is gone")


def upstream_invalid(play: ScenarioRun) -> None:
    """The upstream gives what no replica may take, a different kind each time."""
    _upstream(play, "invalid", "the upstream gives what is no catalogue")


def upstream_slow(play: ScenarioRun) -> None:
    """The upstream gives a byte a second."""
    _upstream(play, "slow", "the upstream gives a byte a second")


def upstream_cut(play: ScenarioRun) -> None:
    """What the upstream says is lost on the way, for longer than a replica waits for it."""
    _for_a_third(play, "upstream", "the upstream is cut off", play.target.unreachable_upstream(), at_least=40.0)


def everything(play: ScenarioRun) -> None:
    """Faults by chance, from a seed. Only where something asks again may a replica be killed, since none may fail."""
    kinds = [
        _redis_away,
        _redis_emptied,
        _redis_hanging,
        _upstream_bad,
        _rolled_out,
        *[_killed] * play.target.by_request,
    ]
    play.waits(play.recovery)
    while play.goes_on():
        play.random.choice(kinds)(play)
        play.waits(play.random.uniform(1, play.recovery))
    play.target.settle(play.replicas)


def _killed(play: ScenarioRun) -> None:
    victim = play.victim()
    with play.fault("kill", f"kill -9 of {victim}"):
        play.target.kill(victim)


def _redis_away(play: ScenarioRun) -> None:
    with play.fault("redis", "Redis has ended"), play.target.without_redis():
        play.waits(play.random.uniform(2, 10))


def _redis_emptied(play: ScenarioRun) -> None:
    with play.fault("redis", "Redis is emptied"):
        play.target.empty_redis()


def _redis_hanging(play: ScenarioRun) -> None:
    with play.fault("redis", "Redis hangs"), play.target.hanging_redis():
        play.waits(play.random.uniform(2, 10))


def _upstream_bad(play: ScenarioRun) -> None:
    mode = play.random.choice(("disconnect", "invalid", "slow"))
    with play.fault("upstream", f"the upstream is told to be {mode}"), play.target.upstream(mode):
        play.waits(play.random.uniform(2, 10))


def _rolled_out(play: ScenarioRun) -> None:
    with play.fault("rollout", "all replicas are replaced"):
        play.target.roll_out()


_ALL = (
    Scenario("steady", steady, shares=True),
    Scenario("rollout", rollout),
    Scenario("scale", scale),
    Scenario("drain-node", drain_node, needs="drained"),
    Scenario("delete-pod", delete_pod, needs="delete"),
    Scenario("crash", crash, failures="none, or in flight"),
    Scenario("pause", pause, failures="none, or in flight"),
    Scenario("lose-node", lose_node, failures="none after the node is left", needs="cut_off"),
    Scenario("redis-down", redis_down, p99_at_most=2.0, no_restarts=True),
    Scenario("redis-empty", redis_empty, p99_at_most=2.0, no_restarts=True),
    Scenario("redis-hang", redis_hang, p99_at_most=2.0, no_restarts=True),
    Scenario("redis-cut", redis_cut, p99_at_most=2.0, no_restarts=True, needs="unreachable_redis"),
    Scenario("upstream-down", upstream_down, no_restarts=True, truthful=True),
    Scenario("upstream-invalid", upstream_invalid, no_restarts=True, truthful=True),
    Scenario("upstream-slow", upstream_slow, no_restarts=True, truthful=True),
    Scenario("upstream-cut", upstream_cut, no_restarts=True, truthful=True, needs="unreachable_upstream"),
    Scenario("everything", everything, seconds=300.0),
)

SCENARIOS = {scenario.name: scenario for scenario in _ALL}
