"""Litestar's handlers and the shapes of their answers, a module for each kind of question: the source of the OpenAPI document.

names, search, catalogue, page       GET /{name} without the fast path; searching as people type; /v1/catalogue; /
operations, document                 probes and metrics; the OpenAPI document and its page
publicapis                           the API of api.publicapis.org
parameters, conditional, problems    query parameters; responses that a client can revalidate; errors as problem documents
accept                               the media type that a request prefers
"""

from litestar import Litestar
from litestar.di import Provide

from apidex.http.context import ReplicaContext
from apidex.http.routes import catalogue, names, operations, page, publicapis, search
from apidex.http.routes.document import OPENAPI
from apidex.http.routes.parameters import requested_filters
from apidex.http.routes.problems import EXCEPTION_HANDLERS


def litestar_app(replica: ReplicaContext) -> Litestar:
    """The application that answers everything but the searches that the fast path takes."""
    return Litestar(
        route_handlers=(
            names.search_by_name,
            *search.HANDLERS,
            page.index,
            catalogue.catalogue,
            *publicapis.HANDLERS,
            operations.livez,
            operations.readyz,
            operations.metrics,
        ),
        dependencies={
            "replica": Provide(lambda: replica, sync_to_thread=False),
            "filters": Provide(requested_filters, sync_to_thread=False),
            "requested": Provide(publicapis.requested_query, sync_to_thread=False),
        },
        exception_handlers=EXCEPTION_HANDLERS,
        logging_config=None,
        openapi_config=OPENAPI,
    )
