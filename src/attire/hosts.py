"""The names under which a server is asked for, as the header `Host` has them.

A page of another site can let a name of its own lead to this machine (DNS rebinding); what gives it away is that name.
"""

from __future__ import annotations

import ipaddress
import re

from attire.errors import ConfigError

HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::\d{1,5})?")


def host_of(header: str) -> str:
    """The name or address in a header `Host`, lower case, without port; empty where it holds none.

    >>> host_of("Shop.example:8000"), host_of("[::1]:8000"), host_of("[")
    ('shop.example', '::1', '')
    """
    found = HOST.fullmatch(header)
    return (found["v6"] or found["name"]).lower().rstrip(".") if found else ""


def is_address(host: str) -> bool:
    """Whether a host is an address, which no page can let lead elsewhere.

    >>> is_address("192.168.0.7"), is_address("::1"), is_address("localhost")
    (True, True, False)
    """
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_local(host: str) -> bool:
    """Whether a host name or address means this machine.

    >>> is_local("127.0.0.1"), is_local("localhost"), is_local("0.0.0.0"), is_local("shop.example")
    (True, True, False, False)
    """
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def not_answering(host: str, port: int, error: Exception) -> ConfigError:
    """The error about an address that a server cannot have, for the `error` of its socket."""
    reason = str(getattr(error, "strerror", None) or error).rstrip(".")
    return ConfigError(f"cannot answer on {host}:{port}: {reason}. Choose another --host or --port.")
