"""Host names in the `Host` header of requests.

Another site can point its own host name at this machine (DNS rebinding); the name in the header reveals it.
"""

from __future__ import annotations

import ipaddress
import re

from attire.errors import ConfigError

HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::\d{1,5})?")


def host_of(header: str) -> str:
    """The name or address in a `Host` header, in lower case and without port; empty if the header is invalid.

    >>> host_of("Shop.example:8000"), host_of("[::1]:8000"), host_of("[")
    ('shop.example', '::1', '')
    """
    match = HOST.fullmatch(header)
    return (match["v6"] or match["name"]).lower().rstrip(".") if match else ""


def is_address(host: str) -> bool:
    """Whether a host is an IP address, which cannot be rebound to another machine.

    >>> is_address("192.168.0.7"), is_address("::1"), is_address("localhost")
    (True, True, False)
    """
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_local(host: str) -> bool:
    """Whether a host name or address refers to this machine.

    >>> is_local("127.0.0.1"), is_local("localhost"), is_local("0.0.0.0"), is_local("shop.example")
    (True, True, False, False)
    """
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def not_answering(host: str, port: int, error: Exception) -> ConfigError:
    """An error that says why a server cannot listen on an address; `error` comes from its socket."""
    reason = str(getattr(error, "strerror", None) or error).rstrip(".")
    return ConfigError(f"cannot listen on {host}:{port}: {reason}. Choose another --host or --port.")
