"""How much one client may ask of the inbox, a person or (without a login) an address: requests in a while, and streams that are open at once."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from litestar.connection import ASGIConnection
from litestar.exceptions import TooManyRequestsException
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from services.inbox.access import AnyConnection, address_of, visitor_of
from services.inbox.feed import ChangeFeed

REQUESTS_A_SECOND, BURST = 50.0, 500
"""Twenty open pages that refresh at each change stay below; a burst is a shift that begins."""
STREAMS = 40
"""Of one client: pages of one browser share a stream, so that these are forty browsers."""
CLIENTS = 10_000
"""Of which the rate is remembered; those that asked longest ago are forgotten, and begin anew."""


def require_room(feed: ChangeFeed, client: str) -> None:
    """`TooManyRequestsException` where the client has as many streams as it may."""
    if feed.streams(client) >= STREAMS:
        raise TooManyRequestsException(headers={"retry-after": "60"})


def client_of(connection: AnyConnection) -> str:
    visitor = visitor_of(connection)
    return visitor.person.key if visitor is not None else address_of(connection) or ""


class Rates(ASGIMiddleware):
    """A bucket of `BURST` requests for each client, filled again by `REQUESTS_A_SECOND`; what finds it empty is answered with 429."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """By client: requests left, and when that was."""

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Probes and static files, which come in one burst with a page, are not counted."""
        if scope["path"] != "/health" and not scope["path"].startswith("/static/"):
            self._take(client_of(ASGIConnection(scope)))
        await next_app(scope, receive, send)

    def _take(self, client: str) -> None:
        now = self._clock()
        left, since = self._left.pop(client, (float(BURST), now))
        left = min(left + (now - since) * REQUESTS_A_SECOND, BURST)
        self._left[client] = (max(left - 1, 0.0), now)
        if len(self._left) > CLIENTS:
            self._left.popitem(last=False)
        if left < 1:
            raise TooManyRequestsException(headers={"retry-after": "1"})
