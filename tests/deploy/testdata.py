"""The catalogue that the stories' upstream gives, and what is searched in it."""

import json
import random
import time
from collections import defaultdict
from pathlib import Path
from urllib.parse import quote

import httpx
import msgspec

from conftest import ROOT
from deploy.traffic import check_that_it_is_this_machine

STARTER = json.loads((ROOT / "src/apidex/catalogue/starter.json").read_text())["entries"]

# The starter catalogue several times over, under other names, so that the one is never taken for the other.
ENTRIES = [entry | {"API": f"{entry['API']} / {number}"} for number in range(1, 6) for entry in STARTER]


def write_into(folder: Path) -> Path:
    """Write the catalogue as an upstream gives it, readable for all. Gives the file."""
    folder.chmod(0o755)
    path = folder / "entries.json"
    path.write_text(json.dumps({"count": len(ENTRIES), "entries": ENTRIES}))
    return path


def names(count: int) -> list[str]:
    """Parts of names from anywhere in the catalogue, some of one character, some that no name has."""
    chosen = random.Random(7)
    found = [""] * count
    for place in range(count):
        whole = chosen.choice(ENTRIES)["API"]
        first = chosen.randrange(len(whole))
        found[place] = whole[first : first + chosen.randint(1, 12)].strip(" ") or "/"
    found[:3] = ["no name has this", "é", "/"]
    return found


def answer_to(name: str) -> bytes:
    """What every replica must answer to a search for *name*."""
    return msgspec.json.encode([entry for entry in ENTRIES if name in entry["API"]])


def path_to(name: str) -> str:
    return "/" + quote(name, safe="")


def answers_of_all(
    url: str, name: str, replicas: int, *, host: str = "apidex", patience: float = 15
) -> dict[str, bytes]:
    """Ask on new connections until each of the replicas has answered; the body that each of them gave."""
    check_that_it_is_this_machine(httpx.URL(url).host)
    given, until = {}, time.monotonic() + patience
    with httpx.Client(base_url=url, headers={"connection": "close", "host": host}, timeout=5) as client:
        while len(given) < replicas and time.monotonic() < until:
            answer = client.get(path_to(name)).raise_for_status()
            given.setdefault(answer.headers["x-served-by"], answer.content)
    assert len(given) == replicas, f"{len(given)} of {replicas} replicas answered within {patience} s"
    return given


def spread(url: str, requests: int) -> dict[str, float]:
    """The part of *requests*, each on a connection of its own, that each replica answered."""
    check_that_it_is_this_machine(httpx.URL(url).host)
    counts = defaultdict(int)
    with httpx.Client(base_url=url, headers={"connection": "close"}, timeout=5) as client:
        for _ in range(requests):
            counts[client.get("/Cat").raise_for_status().headers["x-served-by"]] += 1
    return {name: count / requests for name, count in counts.items()}


def state_of_all(url: str, replicas: int) -> dict[str, dict]:
    """/v1/catalogue of every replica."""
    given, until = {}, time.monotonic() + 15
    with httpx.Client(base_url=url, headers={"connection": "close"}, timeout=5) as client:
        while len(given) < replicas and time.monotonic() < until:
            answer = client.get("/v1/catalogue").raise_for_status()
            given.setdefault(answer.headers["x-served-by"], answer.json())
    assert len(given) == replicas, f"{len(given)} of {replicas} replicas answered"
    return given
