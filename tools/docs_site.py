"""MkDocs' hook: what the site has beyond docs/, and links that lead there.

Pages link to files of the repository as they do on any Git server. In the site those files are
pages too: the changelog, the security policy, the chart's values, and one page with all examples.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# Where a file of the repository is in the site.
OUTSIDE = {
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "charts/loopwright/README.md": "reference/chart.md",
}
EXAMPLES = "examples.md"
# Scripts that `make docs` gets where there is npm; without them diagrams are shown as their text.
ASSETS = ROOT / "build" / "assets"
MERMAID = "mermaid.min.js"
CELL = re.compile(r"<td[^>]*>.*?</td>", re.DOTALL)
NAME = re.compile(r"(?<=[\w\]])([./])(?=\w)(?=[^<>]*</code>)")
LINK = re.compile(r"(\]\()([^)\s#]*)(#[^)\s]*)?(\))")


def slug(text: str, separator: str = "-") -> str:
    """A heading's anchor, the same that Git servers make."""
    return re.sub(r"[^\w -]", "", text.lower()).replace(" ", separator)


def anchor(path: str) -> str:
    """The anchor of an example, by its path below examples/."""
    return slug(path)


def examples() -> str:
    """The page with all examples."""
    folder = ROOT / "examples"
    # Who searches looks for a page that explains, first of all.
    lines = ["---", "search: {boost: 0.3}", "---", "", "# Examples", ""]
    lines += ["Each is applied to a real API server, or run, by a test.", ""]
    for file in sorted(folder.rglob("*.yaml")):
        name = file.relative_to(folder).as_posix()
        lines += [f"## {name}", "", "```yaml", file.read_text().rstrip(), "```", ""]
    return "\n".join(lines)


def site_path(path: str) -> str | None:
    """Where a file or folder of the repository is in the site, with its anchor; None: nowhere."""
    if path in OUTSIDE:
        return OUTSIDE[path]
    first, _, rest = path.partition("/")
    if first == "docs":
        return rest
    if first == "examples":
        return f"{EXAMPLES}#{anchor(rest)}" if rest.endswith(".yaml") else EXAMPLES
    return None


def relinked(markdown: str, source: str, page: str) -> str:
    """The text, with links to files of the repository leading to where these are in the site.

    Args:
        source: The text's path in the repository.
        page: Its path in the site.
    """

    def there(match: re.Match[str]) -> str:
        head, target, mark, end = match.groups()
        if not target or ":" in target:
            return match[0]
        found = site_path(posixpath.normpath(posixpath.join(posixpath.dirname(source), target)))
        if found is None:
            return match[0]
        shown = posixpath.relpath(found, posixpath.dirname(page) or ".")
        return f"{head}{shown}{'' if '#' in shown else mark or ''}{end}"

    return LINK.sub(there, markdown)


def on_config(config: Any) -> Any:
    """Sets what plain YAML cannot name: functions."""
    import pymdownx.superfences

    config.mdx_configs.setdefault("toc", {})["slugify"] = slug
    if (ASSETS / MERMAID).is_file():
        fence = {"name": "mermaid", "class": "mermaid"}
        fence["format"] = pymdownx.superfences.fence_code_format
        config.mdx_configs.setdefault("pymdownx.superfences", {})["custom_fences"] = [fence]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages that are not in docs/."""
    from mkdocs.structure.files import File

    for path, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / path).read_text()))
    files.append(File.generated(config, EXAMPLES, content=examples()))
    for script in ASSETS.glob("*.js"):
        path = f"assets/{script.name}"
        files.append(File.generated(config, path, abs_src_path=str(script)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turns links."""
    uri = page.file.src_uri
    source = next((path for path, one in OUTSIDE.items() if one == uri), f"docs/{uri}")
    return relinked(markdown, source, uri)


def on_page_content(html: str, **_: Any) -> str:
    """Lets long names in tables part at their dots."""
    return CELL.sub(lambda cell: NAME.sub(r"\1<wbr>", cell[0]), html)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Loads the drawing of diagrams where there are any, from the site itself."""
    if 'class="mermaid"' not in output:
        return output
    path = posixpath.relpath(f"assets/{MERMAID}", posixpath.dirname(page.file.dest_uri) or ".")
    return output.replace("</head>", f'<script src="{path}"></script></head>', 1)
