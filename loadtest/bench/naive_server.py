"""The naive implementation of `GET /{name}`: at each request, the whole catalogue is read, parsed and filtered.

python -m loadtest.bench.naive_server PORT URL      URL is that of a Redis, or of an upstream
"""

import json
import sys
from typing import Any

import httpx
import uvicorn
from litestar import Litestar, get
from redis.asyncio import Redis

KEY = "naive_server"


def application(url: str) -> Litestar:
    """Search what is at *url*: a list of entries in Redis, under KEY, or `{"entries": […]}` over HTTP."""
    redis = Redis.from_url(url) if url.startswith("redis:") else None

    async def entries() -> list[dict[str, Any]]:
        if redis is not None:
            return list(json.loads(await redis.get(KEY) or "[]"))
        async with httpx.AsyncClient() as client:
            return list((await client.get(url)).json()["entries"])

    @get("/{name:str}")
    async def search(name: str) -> list[dict[str, Any]]:
        return [entry for entry in await entries() if name in entry["API"]]

    return Litestar([search], logging_config=None)


if __name__ == "__main__":
    uvicorn.run(application(sys.argv[2]), port=int(sys.argv[1]), access_log=False, log_level="warning")
