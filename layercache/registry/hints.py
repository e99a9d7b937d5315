"""Hints of errors about reaching a registry: each names the option, and the key of the configuration."""

from __future__ import annotations


def certificate(host: str) -> str:
    return (
        "pass the certificates of its authority with --ca-file FILE (ca_file in the configuration), "
        f"or do not check its certificate: --insecure {host} (insecure)"
    )


def no_tls(host: str) -> str:
    return (
        f"if it speaks plain HTTP, connect without TLS: --plain-http {host} (plain_http in the configuration)"
    )


def tls(host: str) -> str:
    return f"leave out --plain-http {host} (plain_http in the configuration)"


def downgrade(host: str) -> str:
    return f"if that is right, allow it: --insecure {host} (insecure in the configuration)"


UNREACHABLE = (
    "check the address and the network (HTTPS_PROXY names a proxy); what was pulled before is available with "
    "--offline, and a mirror can be asked instead (mirrors in the configuration)"
)
