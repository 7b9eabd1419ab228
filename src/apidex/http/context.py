"""What the handlers speak of: one replica, as the rest of the application put it together."""

from dataclasses import dataclass

from apidex.http.metrics import Metrics
from apidex.replication.refresher import Refresher


@dataclass(slots=True)
class ReplicaContext:
    """A replica. *draining* is set when it is about to end."""

    refresher: Refresher
    metrics: Metrics
    served_by: str
    draining: bool = False
