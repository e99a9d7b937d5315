"""Draw the Mermaid blocks of the pages as SVG, for the site: `make drawings`.

The host of the repository draws them itself. The site may not load a program from elsewhere for that, so each
drawing is a file here, named after its text. Needs npm, Chromium, and a network.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from drawings import FOLDER, blocks, drawing
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
MERMAID = "mermaid@11.17.2"

# Colours are those of the site's theme, light or dark, so they are set by its variables.
STYLE = """
.node rect, .node circle, .node polygon, .node path, .actor, .note
    { fill: var(--color-background-secondary) !important; stroke: var(--color-foreground-border) !important }
.labelBox { fill: var(--color-background-secondary) !important }
.labelBox, .loopLine { stroke: var(--color-foreground-muted) !important }
.cluster rect { fill: transparent !important; stroke: var(--color-foreground-border) !important }
text, tspan { fill: var(--color-foreground-primary) !important }
.flowchart-link, .messageLine0, .messageLine1, .actor-line, .marker, .marker path, line
    { stroke: var(--color-foreground-muted) !important }
.marker path, [id$=arrowhead] path, [id$=filled-head] path, .arrowMarkerPath
    { fill: var(--color-foreground-muted) !important }
.edgeLabel rect, .labelBkg, .background
    { fill: var(--color-background-primary) !important; opacity: 1 !important }
"""


def program(folder: Path) -> Path:
    """Mermaid itself, one file, out of its package."""
    npm = ["npm", "pack", "--silent", MERMAID]
    packed = subprocess.run(npm, cwd=folder, stdout=subprocess.PIPE, text=True, check=True).stdout.split()[-1]
    shutil.unpack_archive(folder / packed, folder, filter="data")
    return folder / "package" / "dist" / "mermaid.min.js"


def draw(page: Page, name: str, text: str) -> str:
    settings = {
        "startOnLoad": False,
        "htmlLabels": False,
        "flowchart": {"htmlLabels": False},
        "theme": "neutral",
        "fontFamily": "system-ui, sans-serif",
        "themeCSS": STYLE,
    }
    made: str = page.evaluate(
        "async ([settings, name, text]) => {"
        " mermaid.initialize(settings); return (await mermaid.render(name, text)).svg }",
        [settings, f"drawing-{name}", text],
    )
    return made


def main() -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("make drawings needs Chromium: apt-get install chromium")
    FOLDER.mkdir(exist_ok=True)
    wanted = {
        drawing(text): text
        for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))
        for text in blocks(path.read_text())
    }
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.add_script_tag(path=program(Path(folder)))
        for path, text in wanted.items():
            path.write_text(draw(page, path.stem, text) + "\n")
        browser.close()
    for path in set(FOLDER.glob("*.svg")) - wanted.keys():
        path.unlink()
    print(f"{len(wanted)} drawings in {FOLDER.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
