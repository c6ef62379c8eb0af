"""Hosts that never answer are given up, because each of their photos would cost all timeouts and retries."""

from __future__ import annotations

import logging
from collections import Counter
from urllib.parse import urlsplit

from attire.errors import PhotoError, shown

LIMIT = 5  # photos
logger = logging.getLogger(__name__)


class SilentHosts:
    """Remembers which hosts have answered. Threads share it, without a lock: a lost count costs one more photo.

    A host is given up after `LIMIT` photos without an answer, but never if it has answered once: then it is only down
    for a while, and all the photos that follow would be lost. Any status counts as an answer.
    """

    def __init__(self) -> None:
        self._answered: set[str] = set()
        self._unanswered: Counter[str] = Counter()

    def check(self, url: str) -> None:
        """Raise `PhotoError` if the URL's host is given up."""
        host = _host(url)
        if self._unanswered[host] >= LIMIT and host not in self._answered:
            raise PhotoError(f"given up: {shown(host)} has not answered for any of {LIMIT} other photos")

    def answered(self, url: str) -> None:
        """The URL's host has answered."""
        self._answered.add(_host(url))

    def failed(self, url: str, error: Exception) -> None:
        """All attempts to download the photo at the URL have failed, the last one with `error`."""
        host = _host(url)
        if not isinstance(error, OSError):  # timeouts and refused connections are among these, answers are not
            self._answered.add(host)
            return
        self._unanswered[host] += 1
        if self._unanswered[host] == LIMIT and host not in self._answered:
            logger.warning("%s has not answered for any of %d photos: its other photos are given up", host, LIMIT)


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc.rpartition("@")[2].lower()
    except ValueError:
        return ""
