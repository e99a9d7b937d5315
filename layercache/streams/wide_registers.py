"""What isal leaves in a thread's registers, and how to get rid of it."""

from __future__ import annotations

import hashlib


def clear_wide_registers() -> None:
    """Clear the upper halves of the vector registers of this thread, so that it hashes at full speed.

    isal's CRC-32 for AVX-512 leaves them in use: it ends without VZEROUPPER. Until they are cleared, SSE
    instructions, of which sha256 consists, depend on them, and sha256 takes 1.35 times as long. OpenSSL's
    sha512 ends with VZEROUPPER where it uses AVX2; elsewhere this changes nothing. It takes 0.6 µs.
    """
    hashlib.sha512().digest()
