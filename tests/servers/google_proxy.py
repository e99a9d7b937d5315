"""A counting proxy before fake-gcs-server that makes it answer as Google Cloud Storage does.

The server serves its XML API, which obstore uses, under its own address only, and reports a missing object in
words that no service of Google's uses, so that clients do not believe it and ask again.
"""

from __future__ import annotations

import http.client
import re
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from servers.counting import CountingProxy

if TYPE_CHECKING:
    import socket

    from layercache.testing.proxy import Fault

_JSON_API = re.compile(r"/(?:download/)?storage/v1/b/([^/]+)/o/([^/?]+)(?:\?|$)")
_XML_API = re.compile(r"/(?!storage/|download/|upload/|b/|_internal/)([^/?]+)/([^?]+)")
_HOST = re.compile(rb"(?i)(?<=\r\nhost: )[^\r]*")
_XML = "<?xml version='1.0' encoding='UTF-8'?><Error><Code>NoSuchKey</Code></Error>"


class GoogleProxy(CountingProxy):
    """Passes on to a fake-gcs-server at ``port``, and looks there itself whether an object exists."""

    def _choose(self, head: bytes) -> Fault:
        fault = super()._choose(head)
        method, _, target = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
        path = target.partition(" ")[0]
        json_api, xml_api = _JSON_API.match(path), _XML_API.match(path)
        if method not in ("GET", "HEAD") or fault is not self.always or not (found := json_api or xml_api):
            return fault
        bucket, name = unquote(found[1]), unquote(found[2])
        if self._has(bucket, name):
            return fault
        words = f"No such object: {bucket}/{name}" if json_api else _XML
        return replace(fault, status=404, body=words.encode() if method == "GET" else b"")

    def _treat(self, client: socket.socket, incoming: object, head: bytes, fault: Fault) -> None:
        if _XML_API.match(head.split(b" ", 2)[1].decode("latin-1")):
            host, port = self._target
            head = _HOST.sub(f"{host}:{port}".encode(), head)
        super()._treat(client, incoming, head, fault)  # type: ignore[arg-type]  # a private class

    def _has(self, bucket: str, name: str) -> bool:
        host, port = self._target
        connection = http.client.HTTPConnection(host, port, timeout=60)
        try:
            connection.request("GET", f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}")
            answer = connection.getresponse()
            answer.read()
            return answer.status == 200
        finally:
            connection.close()
