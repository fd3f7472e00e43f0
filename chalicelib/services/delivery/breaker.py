"""Domains that did not answer a moment ago: one process spends its time on the same silence once, and not for each row.

Whoever asks a domain that is dead waits until the call is given up. A domain is in many groups, so without this memory
each of them would wait anew, and everybody else behind it. Time is what counts: a quick 5xx or 429 costs nobody
anything, and may be about one queue of many. An answer, whatever it says, ends a pause.
"""

import contextlib
from collections.abc import Iterator

from chalicelib.protocol.timestamps import MINUTE, SECOND
from chalicelib.services.delivery.ports import StreamGap
from chalicelib.services.ports import Clock, Refused, Unreachable

SILENCE = 5 * SECOND
"""A call that brings no answer for so long makes its domain wait."""

PAUSE = MINUTE
"""For how long: one sweep, so that none asks the same silent domain twice."""

MOST_DOMAINS = 1_000


class Breaker:
    """Remembers, for one process, which domains are not worth asking just now."""

    def __init__(self, clock: Clock, most: int = MOST_DOMAINS) -> None:
        self.clock = clock
        self.most = most
        self._silent_since: dict[str, int] = {}

    def is_open(self, domain: str) -> bool:
        """Say whether a domain is not to be asked now."""
        since = self._silent_since.get(domain)
        # A clock that was set back must not make the pause any longer.
        return since is not None and 0 <= self.clock() - since < PAUSE

    @contextlib.contextmanager
    def asking(self, domain: str) -> Iterator[None]:
        """Watch one call to a domain; what it raises goes on. Refusals are answers, too, however long they take."""
        began = self.clock()
        try:
            yield
        except Unreachable:
            if self.clock() - began >= SILENCE:
                self._open(domain)
            raise
        except (Refused, StreamGap):
            self._close(domain)
            raise
        self._close(domain)

    def _close(self, domain: str) -> None:
        self._silent_since.pop(domain, None)

    def _open(self, domain: str) -> None:
        self._close(domain)
        while len(self._silent_since) >= self.most:
            # The one that has been waiting longest would be asked first anyhow.
            self._close(next(iter(self._silent_since)))
        self._silent_since[domain] = self.clock()
