"""Which addresses are on the internet, and lead nowhere else.

By the registries of special-purpose addresses that IANA keeps (RFC 6890), as of 2025, and not by `ipaddress`, whose
answer changes with Python's release. Whatever stands in them is refused, also what may be reached by everybody: photos
are not there.
"""

from __future__ import annotations

import ipaddress

SPECIAL = [
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by a provider's customers
        "127.0.0.0/8",  # this machine
        "168.63.129.16/32",  # not IANA's: Azure's own services, from each of its machines
        "169.254.0.0/16",  # link-local, with most clouds' metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocols, and Oracle's metadata
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
]
UNICAST6 = ipaddress.IPv6Network("2000::/3")  # all that IANA has given out; the rest is local, mapped, or nobody's
SPECIAL6 = [
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocols: Teredo, which carries an IPv4 address, benchmarks, ORCHID and others
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which carries an IPv4 address
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
]


def is_public(address: str) -> bool:
    """Whether an address is an ordinary one on the internet, and hides no other.

    >>> is_public("93.184.216.34"), is_public("10.0.0.1"), is_public("::ffff:127.0.0.1"), is_public("64:ff9b::a00:1")
    (True, False, False, False)
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv4Address):
        return not any(found in network for network in SPECIAL)
    return found in UNICAST6 and not any(found in network for network in SPECIAL6)
