"""`python -m apidex.http.routes` prints the OpenAPI document, as `docs/openapi.json` holds it."""

import json
from typing import cast

from apidex.http.context import ReplicaContext
from apidex.http.routes import litestar_app

app = litestar_app(cast(ReplicaContext, None))  # it answers no request
print(json.dumps(app.openapi_schema.to_schema(), indent=1, sort_keys=True, ensure_ascii=False))
