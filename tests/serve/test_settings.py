"""The settings of the mirror: each key has a default, and what belongs together is given together."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from layercache.config.checker import keys_of
from layercache.config.serve import ServeTable
from layercache.config.setting import Setting
from layercache.errors import ConfigError
from layercache.serve.settings import ServeSettings, settings_of
from layercache.units import parse_size

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()


def test_every_key_of_the_table_is_a_setting_and_every_setting_a_key() -> None:
    assert ServeSettings.__struct_fields__ == tuple(keys_of(ServeTable))


def test_the_documented_defaults_are_those_in_effect() -> None:
    section = PAGE.partition("\n## `[serve]`\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\| ([^|]*) \|", section, re.MULTILINE)
    shown = {key: None if text == "none" else text.strip("`").strip('"') for key, text in rows}
    for key, value in zip(ServeSettings.__struct_fields__, ServeSettings.__struct_defaults__, strict=True):
        text = shown[key]
        match value:
            case tuple():
                assert (text, value) == (None, ()), key
            case bool():
                assert text == str(value).lower(), key
            case int() if "size" in key:
                assert parse_size(text or "") == value, key
            case int() | float():
                assert float(text or "") == value, key
            case _:
                assert text == value, key


@pytest.mark.parametrize(("given", "lacks"), [("tls_key", "tls_certificate"), ("tls_certificate", "tls_key")])
def test_a_certificate_and_its_key_are_given_together(given: str, lacks: str) -> None:
    with pytest.raises(ConfigError, match=f"file: {given} is set, and {lacks} is not"):
        settings_of({given: Setting("/x.pem", "file")})
