"""Litestar's handlers and the shapes of their answers, a module for each kind of question: the source of the OpenAPI document.

names, search, catalogue, page       GET /{name} without the fast path; searching as people type; /v1/catalogue; /
operations, document                 probes and metrics; the OpenAPI document and its page
publicapis                           the API of api.publicapis.org
parameters, conditional, problems    query parameters; responses that a client can revalidate; errors as problem documents
"""

from collections.abc import Sequence

from litestar import Litestar
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler

from apidex.http.context import ReplicaContext
from apidex.http.routes import catalogue, names, operations, page, publicapis, search
from apidex.http.routes.document import OPENAPI
from apidex.http.routes.parameters import requested_filters
from apidex.http.routes.problems import EXCEPTION_HANDLERS

PUBLIC = (names.search_by_name, *search.HANDLERS, page.index, catalogue.catalogue, *publicapis.HANDLERS)
ADMIN = (operations.livez, operations.readyz, operations.metrics)


def litestar_app(replica: ReplicaContext, handlers: Sequence[HTTPRouteHandler] = (*PUBLIC, *ADMIN)) -> Litestar:
    """The application of *handlers*; with PUBLIC, it answers everything but the searches that the fast path takes."""
    return Litestar(
        route_handlers=handlers,
        dependencies={
            "replica": Provide(lambda: replica, sync_to_thread=False),
            "filters": Provide(requested_filters, sync_to_thread=False),
            "requested": Provide(publicapis.requested_query, sync_to_thread=False),
        },
        exception_handlers=EXCEPTION_HANDLERS,
        logging_config=None,
        openapi_config=None if handlers == ADMIN else OPENAPI,
    )
