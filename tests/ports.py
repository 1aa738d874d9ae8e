"""Ports for servers that other processes open later."""

import random
import socket


def free(count):
    """`count` ports below those that the system gives out: none is given to another process before it is opened."""
    found = filter(_is_free, random.SystemRandom().sample(range(15_000, 32_000), 100))
    return [next(found) for _ in range(count)]


def _is_free(port):
    try:
        socket.create_server(("localhost", port)).close()
    except OSError:
        return False
    return True
