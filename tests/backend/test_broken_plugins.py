"""Packages of plug-ins that are broken: what is said of them, and that they disturb nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fixtures.calling import Caller
from servers.misbehaving import install

from layercache.backend import INTERFACE, open_backend
from layercache.backend.installation import upgrade_hint
from layercache.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODULES = {
    "broken_sdk": "import an_sdk_that_nobody_has",
    "broken_syntax": "def from_url(url)\n    return None",
    "broken_import": "raise RuntimeError('no licence key')",
    "broken_name": "",
    "broken_newer": "from layercache.backend import Something",
    "broken_constant": "from_url = 'not a function'",
    "broken_interface": f"INTERFACE = {INTERFACE + 1}\ndef from_url(url): raise AssertionError('not called')",
    "broken_number": "INTERFACE = '1'\ndef from_url(url): raise AssertionError('not called')",
    "broken_factory": "from servers.misbehaving import failing as from_url",
    "broken_answer": "from servers.misbehaving import no_backend as from_url",
    "broken_half": "from servers.misbehaving import half_a_backend as from_url",
    "broken_none": "def from_url(url): pass",
    "broken_signature": "def from_url(): pass",
    "sound_interface": f"INTERFACE = {INTERFACE}\nfrom servers.misbehaving import from_url",
}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Install a package of one module; the scheme that it registers."""
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(str(site))

    def one(module: str) -> str:
        scheme = module.replace("_", "-")
        install(site, f"{scheme} = {module}:from_url", name=f"layercache-{scheme}", version="0.9")
        (site / f"{module}.py").write_text(MODULES[module])
        return scheme

    return one


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("broken_sdk", "No module named 'an_sdk_that_nobody_has'"),
        ("broken_syntax", "SyntaxError"),
        ("broken_import", "no licence key"),
        ("broken_name", "has no attribute 'from_url'"),
        ("broken_newer", "cannot import name 'Something'"),
        ("broken_constant", "is not callable"),
        ("broken_interface", f"version {INTERFACE + 1} of the interface"),
        ("broken_number", "declares the interface '1'"),
        ("broken_factory", "KeyError: 'AZURE_ACCOUNT'"),
        ("broken_answer", "returned str, which is not a backend"),
        ("broken_half", "returned Half, which is not a backend"),
        ("broken_none", "returned NoneType, which is not a backend"),
        ("broken_signature", "TypeError"),
    ],
)
def test_a_broken_plug_in_is_named_with_what_helps(
    installed: Callable[[str], str], tmp_path: Path, module: str, said: str
) -> None:
    scheme = installed(module)
    with pytest.raises(ConfigError) as caught:
        open_backend(f"{scheme}:///x")
    assert caught.value.message.startswith(f"{scheme}://")
    assert f"layercache-{scheme} 0.9" in caught.value.message
    assert said in caught.value.message
    ours = module in ("broken_newer", "broken_interface")
    assert (upgrade_hint() if ours else f"{upgrade_hint(f'layercache-{scheme}')} ") in caught.value.hint
    assert ours != (f"layercache-{scheme}" in caught.value.hint)
    for command in ("ls", "stats", "put"):
        arguments = [command, *([str(tmp_path / "site")] if command == "put" else [])]
        shown = Caller(f"{scheme}:///x")(*arguments, code=2).stderr
        assert f"layercache-{scheme} 0.9" in shown
        assert "internal error" not in shown
    assert said in Caller(f"{scheme}:///x")("doctor", code=4).stdout


def test_a_plug_in_that_states_our_interface_is_opened(
    installed: Callable[[str], str], tmp_path: Path
) -> None:
    scheme = installed("sound_interface")
    assert open_backend(f"{scheme}://{tmp_path}/store").url == f"bad://{tmp_path}/store"


def test_broken_packages_disturb_no_other_scheme(installed: Callable[[str], str], tmp_path: Path) -> None:
    for module in ("broken_sdk", "broken_syntax"):
        installed(module)
    site = tmp_path / "site"
    install(site, "no equals sign", name="layercache-torn")
    (site / "layercache_gone-1.0.dist-info").mkdir()
    (site / "layercache_binary-1.0.dist-info").mkdir()
    (site / "layercache_binary-1.0.dist-info" / "entry_points.txt").write_bytes(
        b"\xff\xfe[layercache.backends]"
    )
    (tmp_path / "layer").write_bytes(b"bytes")
    scheme = installed("sound_interface")
    for url in (f"{scheme}://{tmp_path}/store", f"file://{tmp_path}/store"):
        Caller(url)("put", "--any", str(tmp_path / "layer"))
    with pytest.raises(ConfigError) as caught:
        open_backend("nowhere://x")
    assert "broken-sdk" in caught.value.hint
    assert scheme in caught.value.hint
