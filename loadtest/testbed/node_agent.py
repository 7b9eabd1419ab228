"""Acts on a container from its node, as a process that sees the node's processes and is privileged.

    node_agent.py signal CONTAINER NUMBER
    node_agent.py starve CONTAINER          until standard input ends: it runs a tenth of the time
    node_agent.py partition CONTAINER       its packets are dropped
    node_agent.py heal CONTAINER
    node_agent.py block CONTAINER ADDRESS   its packets to an IPv4 address are dropped
    node_agent.py unblock CONTAINER ADDRESS
    node_agent.py misname CONTAINER NAME    a name leads to the container itself
    node_agent.py rename CONTAINER          names lead where they led before

CONTAINER is an ID; but for `starve`, there may be several with commas between. Needs Python 3.12 on Linux, and nothing
else: it is run as text, in the service's own image. A container that is partitioned receives packets and sends none: they are
dropped on their way out. What undoes a fault has no effect on a container that has ended.
"""

import ctypes
import errno
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# rtnetlink(7), tc(8): a queue in place of the interface's own, which drops all; a route that leads nowhere
_NEW_QUEUE, _DELETE_QUEUE, _NEW_ROUTE, _DELETE_ROUTE = 36, 37, 24, 25
_REQUEST, _ACKNOWLEDGE, _CREATE, _REPLACE = 1, 4, 0x400, 0x100
_ROOT = 0xFFFFFFFF
_KIND, _BLACKHOLE = 1, b"blackhole\0"
_MAIN_TABLE, _BY_ADMINISTRATOR, _DROP, _DESTINATION = 254, 4, 6, 1

# mount(2)
_REMOUNT, _BIND = 32, 4096

_PERIOD, _RUNNING = 0.1, 0.01
"""Seconds: a process that is starved runs for the second in each of the first, as under the kernel's bandwidth control."""

_STOP, _CONTINUE = 19, 18
_HOSTS, _MARK = Path("/etc/hosts"), "# apidex-loadtest"


def processes(containers: str) -> list[int]:
    """Processes of the container with this ID, or of several with a comma between them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if any(each in (folder / "cgroup").read_text() for each in containers.split(",")):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def send(found: list[int], number: int) -> None:
    """Send a signal to the processes."""
    for process in found:
        with suppress(ProcessLookupError):  # it has just ended: a probe, or the child of one that was killed
            os.kill(process, number)


def starve(container: str) -> None:
    """Stop the container's processes nine tenths of the time, until standard input ends. Says when it begins."""
    print("begun", flush=True)
    try:
        while not select.select([sys.stdin], [], [], 0)[0]:
            there = processes(container)
            send(there, _STOP)
            time.sleep(_PERIOD - _RUNNING)
            send(there, _CONTINUE)
            time.sleep(_RUNNING)
    finally:
        send(processes(container), _CONTINUE)


def enter(process: int, kind: str, flag: str) -> None:
    """Enter a namespace of *process*."""
    with Path(f"/proc/{process}/ns/{kind}").open() as namespace:
        os.setns(namespace.fileno(), getattr(os, flag))  # type: ignore[attr-defined, unused-ignore] # Python 3.12


def ask_kernel(kind: int, flags: int, body: bytes) -> int:
    """Send a message of rtnetlink; the number of the error, or 0."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.send(struct.pack("=IHHII", 16 + len(body), kind, _REQUEST | _ACKNOWLEDGE | flags, 1, 0) + body)
        (said,) = struct.unpack_from("=i", kernel.recv(4096), 16)
        return -int(said)


def queue(kind: int, flags: int) -> None:
    """Add the queue that drops all to every interface but the loopback, or delete it, in this network namespace."""
    for index, name in socket.if_nameindex():
        if name == "lo":
            continue
        name_of_queue = struct.pack("HH", 4 + len(_BLACKHOLE), _KIND) + _BLACKHOLE.ljust(12, b"\0")
        body = struct.pack("=BxxxiIII", socket.AF_UNSPEC, index, 0, _ROOT, 0) + name_of_queue
        if error := ask_kernel(kind, flags, body):
            sys.exit(f"{name}: {os.strerror(error)}")


def route(kind: int, flags: int, address: str) -> None:
    """Add the route to *address* that leads nowhere, or delete it, in this network namespace."""
    head = struct.pack("=BBBBBBBBI", socket.AF_INET, 32, 0, 0, _MAIN_TABLE, _BY_ADMINISTRATOR, 0, _DROP, 0)
    destination = struct.pack("HH", 8, _DESTINATION) + socket.inet_aton(address)
    error = ask_kernel(kind, flags, head + destination)
    if error and (kind, error) != (_DELETE_ROUTE, errno.ESRCH):
        sys.exit(f"{address}: {os.strerror(error)}")


@contextmanager
def writable_hosts() -> Iterator[None]:
    """The file of names, in this mount namespace, can be written while the block runs."""
    mount = ctypes.CDLL(None, use_errno=True).mount
    if is_read_only := bool(os.statvfs(_HOSTS).f_flag & os.ST_RDONLY):
        mount(None, bytes(_HOSTS), None, _REMOUNT | _BIND, None)
    try:
        yield
    finally:
        if is_read_only:
            mount(None, bytes(_HOSTS), None, _REMOUNT | _BIND | os.ST_RDONLY, None)


def name_hosts(name: str) -> None:
    """Have *name* lead to this machine, or, without a name, undo that."""
    with writable_hosts():
        lines = [line for line in _HOSTS.read_text().splitlines() if not line.endswith(_MARK)]
        added = [f"127.0.0.1 {name} {_MARK}"] if name else []
        _HOSTS.write_text("\n".join([*added, *lines, ""]))


def in_each(containers: str, kind: str, flag: str, act: tuple[object, ...]) -> None:
    """Call a function of this module in a namespace of each container, each in a process of its own."""
    function, *arguments = act
    for container in containers.split(","):
        there = processes(container)
        if there and not os.fork():
            enter(there[0], kind, flag)
            function(*arguments)  # type: ignore[operator]
            os._exit(0)
        if there and os.waitstatus_to_exitcode(os.wait()[1]):
            sys.exit(f"{container}: failed")


def main(verb: str, container: str, more: str = "") -> None:
    """Act on *container*. Exits with a sentence where that is impossible."""
    undoes = verb in ("heal", "unblock", "rename") or (verb, more) == ("signal", str(_CONTINUE))
    if not processes(container):
        sys.exit(0 if undoes else "no such process")
    network, mounts = ("net", "CLONE_NEWNET"), ("mnt", "CLONE_NEWNS")
    if verb == "signal":
        send(processes(container), int(more))
    elif verb == "starve":
        starve(container)
    else:
        namespace, act = {
            "partition": (network, (queue, _NEW_QUEUE, _CREATE | _REPLACE)),
            "heal": (network, (queue, _DELETE_QUEUE, 0)),
            "block": (network, (route, _NEW_ROUTE, _CREATE | _REPLACE, more)),
            "unblock": (network, (route, _DELETE_ROUTE, 0, more)),
            "misname": (mounts, (name_hosts, more)),
            "rename": (mounts, (name_hosts, "")),
        }[verb]
        in_each(container, *namespace, act)


if __name__ == "__main__":
    main(*sys.argv[1:])
