"""What the distribution promises: its name, metadata and typing, and an import that costs next to nothing."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import metadata, resources
from typing import TYPE_CHECKING

import pytest
from fixtures.pages import PAGES, ROOT

from layercache._version import __version__
from layercache.backend import ENTRY_POINT_GROUP, IN_THE_BOX, install_hint
from layercache.backend.installation import DISTRIBUTION, upgrade_hint

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = ["backports.zstd", "click", "importlib.metadata", "isal", "msgspec", "obstore", "rich", "urllib3"]


def test_the_metadata_states_the_version_of_the_code() -> None:
    assert metadata.version(DISTRIBUTION) == __version__


ANOTHER_NAME = re.compile(
    r"(?<!oci-)\blayercache\[(?!\])"  # with extras
    r"|\b(?:pip3?|pipx|uv|conda)"
    r"(?: (?:tool|pip|install|inject|add|upgrade|run|--?[\w-]+|'?[\w.-]+\[[\w,]+\]'?))*"
    r" '?layercache(?![\w-])"
    r"|\buvx (?:--\w+ )*layercache\b|--(?:from|with) '?layercache(?![\w-])"
    r"|(?:version|distribution|metadata)\([\"']layercache[\"']\)"
    r"|dependencies = \[[^\]]*[\"']layercache(?![\w-])"
    r"|pypi\.org/project/layercache"
)
"""Our import name where the distribution's is meant: as such it is another project."""


def test_the_distribution_has_one_name_everywhere() -> None:
    """In every page and recipe, and in all of the code, so in every message."""
    sources = [
        *PAGES,
        *(ROOT / name for name in ("CHANGELOG.md", "Makefile", "pyproject.toml", ".ci/run")),
        *(path for folder in ("layercache", "backends") for path in (ROOT / folder).rglob("*.py")),
    ]
    found = [
        f"{path.relative_to(ROOT)}: {name[0]}"
        for path in sources
        for name in ANOTHER_NAME.finditer(path.read_text())
    ]
    assert found == []


ANOTHER = """
pip install layercache
pip install 'layercache[s3]'
pip install --upgrade layercache
python -m pip install -U layercache
uv tool install layercache
uv tool install --with 'a[b]' layercache
uv add layercache
uvx layercache pull
uvx --from layercache layercache
pipx install layercache
pipx inject layercache layercache-redis
dependencies = ["a", "layercache>=1"]
version("layercache")
"""
OURS = """
pip install 'oci-layercache[s3,fast]'
pip install .
uv tool install oci-layercache --with layercache-redis
uvx --from oci-layercache layercache pull
pipx inject oci-layercache layercache-redis
layercache pull alpine
[tool.layercache]
"""


def test_another_name_is_found_in_every_kind_of_line() -> None:
    assert [line for line in ANOTHER.strip().splitlines() if not ANOTHER_NAME.search(line)] == []
    assert [line for line in OURS.strip().splitlines() if ANOTHER_NAME.search(line)] == []


PYTHON = "/env/bin/python"


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the environment that layercache is in."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "executable", PYTHON)
    return tmp_path


def test_a_hint_installs_into_the_environment_in_use(prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert install_hint("s3") == f"{PYTHON} -m pip install 'oci-layercache[s3]'"
    assert upgrade_hint("layercache-redis") == f"{PYTHON} -m pip install --upgrade layercache-redis"
    monkeypatch.setattr("shutil.which", lambda name: f"/env/bin/{name}")
    assert install_hint("s3,fast") == "pip install 'oci-layercache[s3,fast]'"
    assert upgrade_hint() == "pip install --upgrade oci-layercache"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # uv's environments have no pip
    assert install_hint("s3") == f"uv pip install --python {PYTHON} 'oci-layercache[s3]'"


def test_a_hint_for_a_tool_of_uv_keeps_what_it_was_installed_with(prefix: Path) -> None:
    receipt = prefix / "uv-receipt.toml"
    receipt.write_text(
        "[tool]\n"
        'requirements = [{ name = "oci-layercache", extras = ["gcs"] }, { name = "layercache-redis" }]\n'
    )
    assert install_hint("s3") == "uv tool install 'oci-layercache[gcs,s3]' --with layercache-redis"
    assert upgrade_hint("layercache-redis") == "uv tool upgrade oci-layercache"
    receipt.write_text('[tool]\nrequirements = [{ name = "oci-layercache", path = "/dist/x.whl" }]\n')
    assert install_hint("s3") == "uv tool install 'oci-layercache[s3] @ /dist/x.whl'"
    receipt.write_text('[tool]\nrequirements = [{ name = "oci-layercache", specifier = ">=0.2" }]\n')
    assert install_hint("s3") == "uv tool install 'oci-layercache[s3]>=0.2'"
    receipt.write_text("not TOML")
    assert install_hint("s3") == "uv tool install 'oci-layercache[s3]'"


def test_a_hint_for_pipx_and_uvx(prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (prefix / "pipx_metadata.json").write_text("{}")
    assert install_hint("s3") == "pipx inject oci-layercache 'oci-layercache[s3]'"
    assert upgrade_hint() == "pipx upgrade --include-injected oci-layercache"
    monkeypatch.setattr(sys, "prefix", "/home/me/.cache/uv/archive-v0/4sH3")
    assert install_hint("s3") == "uvx --from 'oci-layercache[s3]' layercache"
    assert upgrade_hint() == "uvx --refresh --from oci-layercache layercache"


def test_every_extra_that_a_message_names_is_there() -> None:
    extras = set(metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or ())
    assert {"s3", "gcs", "azure", "fsspec", "fast"} <= extras


def test_an_index_shows_the_readme_with_links_that_work() -> None:
    """What is relative in the repository is absolute there, at the release; each leads to a file of ours."""
    page = metadata.metadata(DISTRIBUTION)
    home = urls()["Homepage"]
    assert page["Description-Content-Type"] == "text/markdown"
    links = re.findall(r"\]\(([^)]*)\)", str(page.json["description"]))
    assert links
    for link in links:
        assert re.match(r"https://|#", link), link
        if link.startswith(home):
            path = link.removeprefix(f"{home}/blob/v{__version__}/").partition("#")[0]
            assert (ROOT / path).is_file(), link


def test_pictures_of_the_readme_would_come_from_the_release_too() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["metadata"]["hooks"]
    text = "[![A plot](docs/a.svg)](docs/a.md) [b](https://b.example) [c](#c)"
    for rule in project["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(rule["pattern"], rule["replacement"].replace("$HFPR_VERSION", "1"), text)
    home = urls()["Homepage"]
    raw = home.replace("github.com", "raw.githubusercontent.com")
    assert (
        text == f"[![A plot]({raw}/v1/docs/a.svg)]({home}/blob/v1/docs/a.md) [b](https://b.example) [c](#c)"
    )


def urls() -> dict[str, str]:
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
    return {name: str(url) for name, url in found.items()}


def test_the_project_has_one_home() -> None:
    homes = {url for url in urls().values() if not url.startswith(urls()["Homepage"])}
    assert homes == set()
    for path in (*PAGES, ROOT / "pyproject.toml", ROOT / "CHANGELOG.md"):
        for found in re.findall(r"https://[\w./-]*oci-layercache[\w./-]*", path.read_text()):
            raw = found.replace("raw.githubusercontent.com", "github.com")
            assert raw.startswith(urls()["Homepage"]), f"{path.name}: {found}"


def test_without_posix_locks_a_folder_is_refused_with_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, where Python has no fcntl."""
    program = """
import sys
sys.modules["fcntl"] = None
from layercache.cli import main
sys.argv = ["layercache", "--cache", "./layers/", "ls"]
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2, done.stderr
    assert "needs Linux or macOS" in done.stderr
    assert "WSL" in done.stderr


def test_the_schemes_in_the_box_are_registered_as_a_plug_in_registers_its_own() -> None:
    registered = {entry.name: entry.value for entry in metadata.entry_points(group=ENTRY_POINT_GROUP)}
    assert registered == dict(IN_THE_BOX)


@pytest.mark.parametrize("package", ["layercache", "layercache_backends"])
def test_a_package_says_that_it_is_typed(package: str) -> None:
    assert resources.files(package).joinpath("py.typed").is_file()


def test_import_layercache_loads_nothing_heavy() -> None:
    program = f"import layercache, sys; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []
