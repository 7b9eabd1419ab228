"""What every scenario has, and the scripts that many of them follow."""

from collections.abc import Callable
from dataclasses import dataclass

from loadtest.checks import COMMON, Check
from loadtest.checks.failures import none_failed
from loadtest.checks.run import faults_were_injected
from loadtest.faults import AnyFault
from loadtest.faults.fault import Fault
from loadtest.nemesis import ScenarioRun
from loadtest.targets.target import Target

Script = Callable[[ScenarioRun], None]


@dataclass(frozen=True)
class Scenario:
    """*script* injects *faults*. *failures* says which requests may fail, *checks* what must hold beside what must always hold.

    It lasts *seconds* unless told otherwise.
    """

    name: str
    about: str
    script: Script
    faults: tuple[type[Fault], ...] = ()
    failures: Check = none_failed
    checks: tuple[Check, ...] = ()
    seconds: float = 60.0

    def all_checks(self) -> tuple[Check, ...]:
        """Everything that must hold."""
        injected = (faults_were_injected,) if self.faults else ()
        return (self.failures, *COMMON, *injected, *self.checks)

    def supported_by(self, target: type[Target]) -> bool:
        """Whether all of its faults can be injected there."""
        return all(target.supports(fault.verb) for fault in self.faults)


def repeatedly(
    fault: Callable[[ScenarioRun], AnyFault],
    *,
    seconds: float = 0.0,
    pause: float = ScenarioRun.recovery,
    first: float = 0.0,
) -> Script:
    """Inject a fault for *seconds* again and again, *pause* seconds apart, after a part *first* of the run without one."""

    def script(run: ScenarioRun) -> None:
        run.wait(max(run.recovery, run.seconds * first))
        while run.continues():
            run.inject(fault(run), seconds)
            run.wait(pause)
        run.target.settle(run.replicas)

    return script


def middle_third(name: str, about: str, fault: AnyFault, *, checks: tuple[Check, ...], at_least: float = 0) -> Scenario:
    """The scenario with *fault* in the middle third of the run, for *at_least* so many seconds."""

    def script(run: ScenarioRun) -> None:
        third = run.seconds / 3
        run.wait(third)
        run.inject(fault, max(at_least, third))
        run.wait(third)

    return Scenario(name, about, script, (type(fault),), checks=checks)
