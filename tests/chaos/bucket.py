"""A bucket as somebody sees it who may write to it: past the proxy that the workers use."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import botocore.session
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    import random

GARBAGE = b"\xff\xfe{"


class Bucket:
    def __init__(self, endpoint: str, name: str) -> None:
        self.name = name
        self._client = botocore.session.get_session().create_client(
            "s3", endpoint_url=endpoint, region_name="us-east-1"
        )

    def keys(self) -> list[str]:
        """The first thousand."""
        found = self._client.list_objects_v2(Bucket=self.name).get("Contents", [])
        return [each["Key"] for each in found]

    def uploads(self) -> list[str]:
        """Keys of multipart uploads that nobody has completed."""
        found = self._client.list_multipart_uploads(Bucket=self.name).get("Uploads", [])
        return [each["Key"] for each in found]

    def spoil(self, key: str, how: str, other: str, chance: random.Random) -> None:
        """Replace an object: by itself with a bit turned or its end missing, by garbage, by another one."""
        if how == "delete":
            self._client.delete_object(Bucket=self.name, Key=key)
            return
        with suppress(ClientError):  # gone since it was listed
            data = bytearray(self._get(other if how == "swap" else key))
            if how == "flip" and data:
                data[chance.randrange(len(data))] ^= 1
            elif how == "cut":
                del data[len(data) // 2 :]
            elif how == "garbage":
                data[:] = GARBAGE
            self._client.put_object(Bucket=self.name, Key=key, Body=bytes(data))

    def close(self) -> None:
        self._client.close()

    def _get(self, key: str) -> bytes:
        data: bytes = self._client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return data
