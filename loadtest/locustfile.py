"""Who calls, and how often: the users of a load test that anyone can open.

    locust -f loadtest/locustfile.py --host http://127.0.0.1:8000

Names are drawn from the catalogue that answers, a few of them often and most of them rarely, and some that nothing has. Each kind
of request is one line in Locust's tables, whatever was searched. A request has failed when it is refused, reset or late, is
no 200 or 304, has an answer that does not hold what was searched, or an older catalogue than the same replica gave before.
"""

import random
import string
from collections import defaultdict
from urllib.parse import quote

from locust import FastHttpUser, constant_throughput, events, task

LATE = 2.0
"""Seconds after which nobody waits any more."""

_MISSES = ("no API has this", "Zzyzx 9", "%", "Cat Facts  ")


class Names:
    """What is searched: names of the catalogue and pieces of them, by Zipf's law, and every twentieth time a miss."""

    def __init__(self, names: list[str]) -> None:
        shuffled = random.Random(7).sample(
            sorted(set(names)), k=len(set(names))
        )  # the same favourites in every process
        self._names = shuffled or ["Cat"]
        self._weights = [1 / rank for rank in range(1, len(self._names) + 1)]

    def one(self) -> str:
        """A name, a word of one, or a miss."""
        if random.random() < 0.05:
            return random.choice(_MISSES)
        name = random.choices(self._names, self._weights)[0]
        return name if random.random() < 0.5 else random.choice(name.split() or [name])


NAMES = Names([])

NEWEST: dict[str, int] = defaultdict(int)
"""The newest stamp that each replica has shown."""


@events.init.add_listener
def learn_names(environment, **_) -> None:  # noqa: ANN001, ANN003 - Locust's
    """Take the names from the service that is to be searched, once it is known."""

    @environment.events.test_start.add_listener
    def learn(environment, **_) -> None:  # noqa: ANN001, ANN003 - Locust's
        import requests

        global NAMES
        found = set()
        for letter in string.ascii_lowercase + string.digits:
            answer = requests.get(f"{environment.host}/{letter}", timeout=10)
            answer.raise_for_status()
            found |= {entry["API"] for entry in answer.json()}
        NAMES = Names(sorted(found))
        NEWEST.clear()


class Searcher(FastHttpUser):
    """Searches, and keeps its connection as long as the service does."""

    weight = 6
    wait_time = constant_throughput(5)
    network_timeout = connection_timeout = LATE
    max_retries = 0
    label = "search, kept alive"

    @task
    def search(self) -> None:
        """Look for a name, and look at what is found."""
        self.ask(NAMES.one(), {})

    def ask(self, name: str, headers: dict[str, str]) -> dict[str, str]:
        """Search for *name*, fail what is wrong, and give the answer's headers."""
        path = f"/{quote(name, safe='')}"
        with self.client.get(path, name=self.label, headers=headers, catch_response=True) as response:
            fault = self.fault(name, response)
            if fault:
                response.failure(fault)
            return dict(response.headers or {})

    @staticmethod
    def fault(name: str, response) -> str:  # noqa: ANN001 - Locust's
        """What is wrong with an answer, or nothing."""
        if response.status_code not in (200, 304):
            return f"status {response.status_code}"
        replica, version = response.headers.get("X-Served-By", ""), response.headers.get("Catalogue-Version", "")
        stamp = int(version.partition("-")[0] or 0)
        if stamp < NEWEST[replica]:
            return f"{replica} went back"
        NEWEST[replica] = stamp
        if response.status_code == 200 and not all(name in entry["API"] for entry in response.json()):
            return "a wrong answer"
        return ""


class Passer(Searcher):
    """Comes with a connection of its own for each search."""

    weight = 3
    label = "search, new connection"

    @task
    def search(self) -> None:
        """Search, and leave."""
        self.ask(NAMES.one(), {"Connection": "close"})


class Revalidator(Searcher):
    """Asks again for what it has."""

    weight = 2
    label = "search, held already"

    def on_start(self) -> None:
        """It holds nothing yet."""
        self.name, self.tag = NAMES.one(), ""

    @task
    def search(self) -> None:
        """Ask with the tag of the last answer."""
        headers = self.ask(self.name, {"If-None-Match": self.tag} if self.tag else {})
        self.tag = headers.get("ETag") or headers.get("etag") or ""


class Browser(Searcher):
    """Asks for half of the catalogue at once, compressed."""

    weight = 1
    wait_time = constant_throughput(1)
    label = "a letter, compressed"

    @task
    def search(self) -> None:
        """Search for one letter."""
        self.ask(random.choice("aeiou"), {"Accept-Encoding": "gzip"})
