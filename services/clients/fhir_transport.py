"""HTTP to one FHIR R4 server: what its statuses mean, when it is asked again, and the resources that it answers with.

Neither URLs nor the server's words enter errors or logs: both hold identifiers.
"""

from __future__ import annotations

import re
import ssl
import time
from typing import Any, cast
from urllib.parse import urlsplit

import httpx

from schemas.errors import PermanentFailure, StaleWrite, TransientFailure
from services.clients.fhir_json import parse
from services.clients.retry_after import retry_after
from services.clients.tokens import Access, bearer
from services.connection_rules import is_loopback
from services.operations.requests import MeasuredClient, kind_of_fhir
from workflows.ports import Resource
from workflows.timeline.fields import unversioned

READ_PAUSES = (0.1, 0.2, 0.4, 0.8)
"""Seconds before a read is tried again. A step of many reads would else hardly ever come to its end while a share of all calls fails."""
LONGEST_WAIT = 300.0
"""Seconds that a server may ask for (`Retry-After`) at most."""
_JSON = "application/fhir+json"
_REFERENCE = re.compile(r"[A-Z][A-Za-z]{1,63}/[A-Za-z0-9.-]{1,64}(/_history/[A-Za-z0-9.-]{1,64})?")


class FhirTransport:
    """One FHIR R4 server, asked with a bearer `token` or by `auth` (`services.clients.smart`)."""

    def __init__(
        self,
        base_url: str,
        *,
        token: str = "",
        auth: Access | None = None,
        verify: ssl.SSLContext | bool = True,
        timeout: float = 60.0,
        transport: httpx.BaseTransport | None = None,
        read_pauses: tuple[float, ...] = READ_PAUSES,
    ) -> None:
        self._base = base_url.rstrip("/")
        self._read_pauses = read_pauses
        self._access = auth or bearer(token)
        self._http = MeasuredClient(
            "fhir",
            kind_of_fhir,
            {urlsplit(self._base).path: "transaction"},
            headers={"Accept": _JSON, "Content-Type": _JSON, "Cache-Control": "no-cache"},
            auth=self._access,
            verify=verify,
            timeout=httpx.Timeout(timeout, connect=5.0),
            transport=transport,
            # a proxy named in the environment cannot reach this machine's loopback
            trust_env=not is_loopback(self._base),
        )

    def close(self) -> None:
        self._http.close()
        if self._access is not None:
            self._access.close()

    def read(self, reference: str) -> Resource:
        """One resource by `Type/id` or `Type/id/_history/v`; `PermanentFailure` `fhir-not-found` if it is not there."""
        return self._read(reference)

    def read_exact(self, reference: str) -> Resource:
        """The same with every decimal digit of the source kept: for reading only."""
        return self._read(reference, decimals=True)

    def _read(self, reference: str, *, decimals: bool = False) -> Resource:
        response = self._send("GET", f"{self._base}/{self._local(reference)}")
        if response.status_code in (404, 410):
            raise PermanentFailure("fhir-not-found", "the FHIR server does not know a resource that was named")
        resource = self._body(response, decimals=decimals)
        same = f"{resource.get('resourceType')}/{resource.get('id')}" == unversioned(reference)
        _, _, version = reference.partition("/_history/")
        if not same or (version and (resource.get("meta") or {}).get("versionId", version) != version):
            raise PermanentFailure(
                "fhir-wrong-resource", "the FHIR server answered with another resource than the one asked for"
            )
        return resource

    def _local(self, reference: str) -> str:
        """A reference as a path below our base. One to another server, or one that would change the URL, is never followed."""
        path = reference.removeprefix(f"{self._base}/")
        if not _REFERENCE.fullmatch(path) or path.split("/")[1].strip(".") == "":
            raise PermanentFailure("fhir-reference", "a reference does not name a resource of this FHIR server")
        return path

    # -- transport -------------------------------------------------------------------------------------------------------------

    def _send(self, method: str, url: str, **arguments: Any) -> httpx.Response:
        """One answer. A read is tried again after a refusal or a broken connection, never after a timeout or a 429: those need more patience.

        A write is sent once: whoever wrote looks for its effect before it writes again.
        """
        for pause in self._read_pauses if method == "GET" else ():
            try:
                response = self._http.request(method, url, **arguments)
            except httpx.TimeoutException as error:
                raise TransientFailure("fhir-unavailable", "the FHIR server does not answer in time") from error
            except httpx.HTTPError:
                time.sleep(pause)
                continue
            wait = _wait(response.headers)
            if response.status_code < 500 or (wait is not None and wait > self._read_pauses[-1]):
                return response
            time.sleep(max(pause, wait or 0.0))
        return self._send_once(method, url, **arguments)

    def _send_once(self, method: str, url: str, **arguments: Any) -> httpx.Response:
        try:
            return self._http.request(method, url, **arguments)
        except httpx.HTTPError as error:
            raise TransientFailure("fhir-unavailable", "the FHIR server does not answer") from error

    def _body(self, response: httpx.Response, *, decimals: bool = False) -> Resource:
        """The JSON of an answer; with `decimals` its numbers keep their digits: for reading only, orjson writes none of them."""
        self._check(response.status_code, response.headers)
        try:
            found = parse(response.content, decimals=decimals)
        except (ValueError, RecursionError) as error:
            raise TransientFailure("fhir-not-json", "the FHIR server did not answer with JSON") from error
        if not isinstance(found, dict):
            raise PermanentFailure("fhir-wrong-resource", "the FHIR server answered with JSON that is no resource")
        return cast(Resource, found)

    def _check(self, status: int, headers: httpx.Headers | None = None) -> None:
        if status in (409, 412):
            raise StaleWrite("fhir-stale", "another version is there already, or another write came first")
        if status in (408, 425, 429) or status >= 500:
            raise TransientFailure("fhir-unavailable", f"the FHIR server answered {status}", _wait(headers))
        if status in (401, 403):
            raise PermanentFailure(
                "fhir-forbidden", "the FHIR server does not allow this: check our token, or the scopes it was granted"
            )
        if not 200 <= status < 300:
            raise PermanentFailure("fhir-refused", f"the FHIR server refused with {status}: its own log says why")


def _wait(headers: httpx.Headers | None) -> float | None:
    """Seconds until the server wants to be asked again, never more than `LONGEST_WAIT`."""
    seconds = retry_after(headers or {})
    return None if seconds is None else min(seconds, LONGEST_WAIT)
