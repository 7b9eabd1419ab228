"""Litestar's handlers and the shapes of what they answer, a module for each kind of question: the source of the OpenAPI document.

names, search, catalogue, page       GET /{name} by the textbook; searching as people type; /v1/catalogue; /
operations, document                 probes and metrics; the OpenAPI document and its page
publicapis                           the dead service's API
parameters, conditional, problems    query parameters; responses that a client can revalidate; errors as problem documents
"""

import functools
from typing import Any

from litestar import Litestar
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import License, Tag

from apidex import __version__
from apidex.http.context import ReplicaContext
from apidex.http.routes import catalogue, document, names, operations, page, publicapis, search
from apidex.http.routes.problems import EXCEPTION_HANDLERS

HANDLERS = (
    names.search_by_name,
    *search.HANDLERS,
    page.index,
    catalogue.catalogue,
    *publicapis.HANDLERS,
    operations.livez,
    operations.readyz,
    operations.metrics,
    document.docs,
    document.openapi,
)


def litestar_app(replica: ReplicaContext) -> Litestar:
    """The application that answers everything but the searches that the fast path takes."""
    return Litestar(
        route_handlers=HANDLERS,
        dependencies={
            "replica": Provide(lambda: replica, sync_to_thread=False),
            "document": Provide(openapi_document, sync_to_thread=False),
        },
        exception_handlers=EXCEPTION_HANDLERS,
        logging_config=None,
        openapi_config=None,
    )


@functools.cache
def openapi_document() -> dict[str, Any]:
    """The OpenAPI document, made from the handlers when it is first asked for.

    An application of its own makes it, since Litestar would add pages to ours that load scripts from other hosts.
    """
    config = OpenAPIConfig(
        title="Apidex",
        version=__version__,
        description="Which public APIs have this in their name?",
        license=License(name="MIT", identifier="MIT"),
        tags=[
            Tag("search", "Searching by name"),
            Tag("catalogue", "What is searched"),
            Tag("publicapis", "For clients of api.publicapis.org, which need only a new base URL"),
            Tag("operations", "For those who run it"),
        ],
    )
    # declared as Litestar wants them, each by a provider of its own; this application answers nobody
    unused = {name: Provide(functools.partial(object), sync_to_thread=False) for name in ("replica", "document")}
    app = Litestar(HANDLERS, dependencies=unused, openapi_config=config, logging_config=None)
    return app.openapi_schema.to_schema()
