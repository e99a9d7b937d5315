"""Which files count: the nearest of a project, the user's and the system's; or the one that is named."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs
import pytest

from layercache.config import environment, files
from layercache.config.opening import load
from layercache.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

ORDER = ("option", "variable", "here", "here_pyproject", "above", "above_pyproject", "user", "system")


def counts(named: str | None = None) -> str | None:
    return next((document.place.path for document in files.find(named)), None)


def test_the_nearest_file_comes_first(
    project: Path, tmp_path: Path, write: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, table = "strict = true", "[tool.layercache]\nstrict = true"
    here = Path.cwd()
    made = {
        "option": write(plain, tmp_path / "option.toml"),
        "variable": write(plain, tmp_path / "variable.toml"),
        "here": write(plain, here / "layercache.toml"),
        "here_pyproject": write(table, here / "pyproject.toml"),
        "above": write(plain, project / "layercache.toml"),
        "above_pyproject": write(table, project / "pyproject.toml"),
        "user": write(plain, tmp_path / "home/.config/layercache/config.toml"),
        "system": write(plain, tmp_path / "etc/config.toml"),
    }
    monkeypatch.setenv("LAYERCACHE_CONFIG", made["variable"])
    assert counts(made["option"]) == made["option"]
    assert counts() == made["variable"]
    monkeypatch.delenv("LAYERCACHE_CONFIG")
    for name in ORDER[2:]:
        assert counts() == made[name]
        Path(made[name]).unlink()
    assert counts() is None


@pytest.mark.parametrize("text", ["", "[tool.ruff]\nx = 1", "]]] no TOML"])
def test_a_pyproject_without_the_table_is_passed_over_whatever_it_holds(
    text: str, project: Path, write: Callable[..., str]
) -> None:
    write(text, Path.cwd() / "pyproject.toml")
    above = write("strict = true", project / "layercache.toml")
    assert counts() == above


def test_a_named_pyproject_needs_the_table(write: Callable[..., str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no \[tool\.layercache\]"):
        load(write("# layercache", tmp_path / "pyproject.toml"))


@pytest.mark.parametrize("by", ["option", "variable"])
def test_a_named_file_must_be_there(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERCACHE_CONFIG", "/absent.toml" if by == "variable" else "")
    with pytest.raises(ConfigError, match=r"/absent\.toml cannot be read: No such file") as caught:
        load("/absent.toml" if by == "option" else None)
    assert {"option": "--config", "variable": "LAYERCACHE_CONFIG"}[by] in caught.value.hint


def test_no_file_is_named_by_the_null_device(project: Path, write: Callable[..., str]) -> None:
    write("nonsense = 1", project / "layercache.toml")
    assert load(os.devnull).behaviour()["strict"].value is False


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a = 1\nb = \n", "line 2"),
        (b"a = 1\n\n# \xff", "line 3 is not UTF-8"),
        (b"a = " + b"[" * 100_000, "not TOML"),
        (b"a = 1\na = 2", "not TOML"),
        (b"a = " + b"9" * 5000, "too many digits"),
    ],
)
def test_invalid_toml_is_reported_with_its_line(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_a_file_that_anybody_could_have_put_there_is_passed_over(
    project: Path, write: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("strict = true", project / "layercache.toml")
    assert counts() == path
    project.chmod(0o1777)
    assert counts() == path, "it is ours"
    if not os.getuid():  # what is root's is believed
        os.chown(path, 4242, -1)
    monkeypatch.setattr(os, "geteuid", lambda: 4243)
    assert counts() is None
    project.chmod(0o755)
    assert counts() == path


def test_a_folder_that_was_removed_has_no_project(project: Path) -> None:
    Path.cwd().rmdir()
    assert [place.kind for place in files.places()] == ["user", "system"]


def test_a_file_that_cannot_be_read_is_an_error_and_not_passed_over(project: Path) -> None:
    (project / "layercache.toml").symlink_to("layercache.toml")  # root may read everything but this
    with pytest.raises(ConfigError, match="symbolic links"):
        load()


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/dev/zero", path)])
def test_a_project_file_that_is_not_a_regular_file_is_skipped(
    project: Path, make: Callable[[Path], None]
) -> None:
    make(project / "layercache.toml")
    assert counts() is None


def test_a_huge_file_is_refused_and_not_read(project: Path) -> None:
    with open(project / "layercache.toml", "wb") as file:
        file.truncate(600 << 20)
    with pytest.raises(ConfigError, match="larger than 1048576 bytes"):
        load()
    with pytest.raises(ConfigError, match="larger than 1048576 bytes"):
        load("/dev/zero")


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="there platformdirs itself is asked")
@pytest.mark.parametrize("base", [None, "", "/somewhere", "relative"])
def test_the_users_folder_is_where_platformdirs_has_it(
    base: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if base is not None:
        monkeypatch.setenv("XDG_CONFIG_HOME", base)
    if base != "relative":  # platformdirs takes it; the specification has it ignored
        assert environment.user_config_folder() == platformdirs.user_config_dir("layercache", appauthor=False)
    assert os.path.isabs(environment.user_config_folder())
