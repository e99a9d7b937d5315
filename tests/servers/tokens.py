"""A token server, as the Docker Registry token authentication specification has it.

docker-registry believes its tokens: ``Registry(folder, token_auth=tokens.registry_options)``.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from servers.certificates import pem, self_signed
from servers.registry import PASSWORD, USER

if TYPE_CHECKING:
    from pathlib import Path

SERVICE = "registry for tests, with a comma"
IDENTITY_TOKEN = "the-identity-token-of-someone"


@dataclass(frozen=True)
class TokenRequest:
    """What a client asked the token server for."""

    method: str
    scopes: tuple[str, ...]
    who: str


@dataclass
class TokenServer:
    """Gives tokens that allow what is asked for; to pull to anybody, unless ``anonymous`` is False.

    ``lifetime`` is what it says of a token in seconds; ``stale`` makes tokens that ended long ago
    whatever it says, so many of the next ones.
    """

    folder: Path
    anonymous: bool = True
    lifetime: int = 300
    stale: int = 0
    requests: list[TokenRequest] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self_signed("tokens", self._key)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._bundle = self.folder / "tokens.pem"
        self._bundle.write_bytes(pem(self._certificate))
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = parse_qs(urlsplit(self.path).query)
                outer._answer(self, query, _basic(self.headers.get("Authorization")))

            def do_POST(self) -> None:
                query = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                token = query.get("refresh_token", [""])[0]
                outer._answer(self, query, USER if token == IDENTITY_TOKEN else None)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def realm(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/token"

    @property
    def registry_options(self) -> dict[str, str]:
        """docker-registry's ``auth.token``."""
        return {
            "realm": self.realm,
            "service": SERVICE,
            "issuer": "tokens",
            "rootcertbundle": str(self._bundle),
        }

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler, query: dict[str, list[str]], user: str | None) -> None:
        scopes = tuple(scope for text in query.get("scope", []) for scope in text.split())
        self.requests.append(TokenRequest(handler.command, scopes, user or ""))
        refused = user is None or (user == "" and not self.anonymous) or query.get("service") != [SERVICE]
        answer = {} if refused else {"token": self._token(scopes, user or ""), "expires_in": self.lifetime}
        body = json.dumps(answer).encode()
        handler.send_response(401 if refused else 200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def _token(self, scopes: tuple[str, ...], user: str) -> str:
        now = int(time.time())
        ends = now + 600
        if self.stale:
            self.stale -= 1
            ends = now - 600
        certificate = self._certificate.public_bytes(serialization.Encoding.DER)
        head = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(certificate).decode()]}
        claims = {
            "iss": "tokens",
            "sub": user,
            "aud": SERVICE,
            "iat": now - 1000,
            "nbf": now - 1000,
            "exp": ends,
            "access": [_access(scope, user) for scope in scopes],
        }
        signed = f"{_encoded(json.dumps(head).encode())}.{_encoded(json.dumps(claims).encode())}"
        first, second = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_encoded(first.to_bytes(32, 'big') + second.to_bytes(32, 'big'))}"


def _access(scope: str, user: str) -> dict[str, Any]:
    kind, name, actions = [*scope.rsplit(":", 1)[0].split(":", 1), scope.rsplit(":", 1)[1]]
    allowed = actions.split(",") if user else ["pull"]
    return {"type": kind, "name": name, "actions": allowed}


def _basic(header: str | None) -> str | None:
    """The user whose password is right, "" for nobody, None for a wrong password."""
    if header is None:
        return ""
    right = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    return USER if header == f"Basic {right}" else None


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
