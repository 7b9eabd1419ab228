"""Acts on a container from its node, as a process that sees the node's processes and is privileged.

    node_agent.py signal CONTAINER NUMBER
    node_agent.py partition CONTAINER
    node_agent.py heal CONTAINER

Needs Python 3.12 on Linux, and nothing else: it is run as text, in the service's own image. A container that is partitioned
receives packets and sends none: they are dropped on their way out.
"""

import os
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path

# rtnetlink(7), tc(8): a queue in place of the interface's own, which drops all
_NEW_QUEUE, _DELETE_QUEUE = 36, 37
_REQUEST, _ACKNOWLEDGE, _CREATE, _REPLACE = 1, 4, 0x400, 0x100
_ROOT = 0xFFFFFFFF
_KIND, _BLACKHOLE = 1, b"blackhole\0"


def processes(container: str) -> list[int]:
    """Processes of the container with this ID, or of several with a comma between them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if any(each in (folder / "cgroup").read_text() for each in container.split(",")):
                found.append(int(folder.name))
        except OSError:
            continue
    if not found:
        sys.exit("no such process")
    return found


def queue(kind: int, flags: int) -> None:
    """Add the queue that drops all to every interface but the loopback, or delete it, in this network namespace."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        for index, name in socket.if_nameindex():
            if name == "lo":
                continue
            name_of_queue = struct.pack("HH", 4 + len(_BLACKHOLE), _KIND) + _BLACKHOLE.ljust(12, b"\0")
            body = struct.pack("=BxxxiIII", socket.AF_UNSPEC, index, 0, _ROOT, 0) + name_of_queue
            kernel.send(struct.pack("=IHHII", 16 + len(body), kind, _REQUEST | _ACKNOWLEDGE | flags, 1, 0) + body)
            (said,) = struct.unpack_from("=i", kernel.recv(4096), 16)
            if said:
                sys.exit(f"{name}: {os.strerror(-said)}")


def main(verb: str, container: str, number: str = "") -> None:
    """Act on *container*. Exits with a sentence where that is impossible."""
    there = processes(container)
    if verb == "signal":
        for process in there:
            with suppress(ProcessLookupError):  # it has just ended: a probe, or the child of one that was killed
                os.kill(process, int(number))
        return
    with Path(f"/proc/{there[0]}/ns/net").open() as network:
        os.setns(network.fileno(), os.CLONE_NEWNET)  # type: ignore[attr-defined, unused-ignore] # Python 3.12
    if verb == "partition":
        queue(_NEW_QUEUE, _CREATE | _REPLACE)
    else:
        queue(_DELETE_QUEUE, 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
