"""What a run is played against: a target is one module, and one line of `TARGETS`."""

from loadtest.targets.compose import Compose
from loadtest.targets.kubernetes import Kubernetes
from loadtest.targets.processes import Processes
from loadtest.targets.service import RunningService
from loadtest.targets.target import Target

TARGETS: dict[str, type[Target]] = {target.name: target for target in (Processes, Compose, Kubernetes, RunningService)}
