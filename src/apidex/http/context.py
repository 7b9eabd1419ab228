"""The replica that handlers answer for."""

from dataclasses import dataclass

from apidex.http.metrics import Metrics
from apidex.replication.refresher import Refresher


@dataclass(slots=True)
class ReplicaContext:
    """A replica. *draining* is set once it shuts down."""

    refresher: Refresher
    metrics: Metrics
    served_by: str
    draining: bool = False
