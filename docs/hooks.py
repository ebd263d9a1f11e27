"""MkDocs hooks: the site holds what its pages link to outside docs/, too.

So the links that work where the repository is browsed work in the site, which needs no address
of the repository. Markdown keeps its path, any other file becomes a page that shows it.
"""

import os
import re
from pathlib import Path, PurePosixPath
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PROJECT: Final = Path(__file__).parents[1]
DOCS: Final = PurePosixPath("docs")
SOURCE: Final = PurePosixPath("source")

_LINK: Final = re.compile(r"(?<=\]\()([^)#\s]+)")
_LANGUAGES: Final = {".py": "python", ".sh": "bash", ".yaml": "yaml"}
_SOURCE_PAGE: Final = """\
---
title: {path}
search: {{exclude: true}}
---
``````{language}
{text}
``````
"""


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add what the pages link to, and what is linked from there."""
    pages = [file.src_uri for file in files.documentation_pages()]
    while pages:
        page = path_in_repository(pages.pop())
        for target in links(page, (PROJECT / page).read_text()).values():
            uri = path_in_site(target)
            if files.get_file_from_path(uri) is None:
                files.append(_file(target, uri, config))
                if target.suffix == ".md":
                    pages.append(uri)
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Let links lead to where the site has what they name."""
    uri = page.file.src_uri
    if PurePosixPath(uri).is_relative_to(SOURCE):
        return markdown
    targets = links(path_in_repository(uri), markdown)

    def in_site(link: re.Match[str]) -> str:
        if link[0] not in targets:
            return link[0]
        return os.path.relpath(path_in_site(targets[link[0]]), PurePosixPath(uri).parent)

    return _LINK.sub(in_site, markdown)


def links(page: PurePosixPath, text: str) -> dict[str, PurePosixPath]:
    """The files in the repository that a page links to, by the link as it stands there."""
    found = {}
    for link in set(_LINK.findall(text)):
        target = PurePosixPath(os.path.normpath(page.parent / link))
        if (PROJECT / target).is_file():
            found[link] = target
    return found


def path_in_site(path: PurePosixPath) -> str:
    """Where the site has a file of the repository."""
    if path.is_relative_to(DOCS):
        return str(path.relative_to(DOCS))
    return str(path if path.suffix == ".md" else SOURCE / f"{path}.md")


def path_in_repository(uri: str) -> PurePosixPath:
    """Where a Markdown page of the site comes from."""
    path = DOCS / uri
    return path if (PROJECT / path).exists() else PurePosixPath(uri)


def _file(path: PurePosixPath, uri: str, config: MkDocsConfig) -> File:
    if path.suffix == ".md":
        return File.generated(config, uri, abs_src_path=str(PROJECT / path))
    text = (PROJECT / path).read_text()
    language = _LANGUAGES.get(path.suffix, "text")
    shown = _SOURCE_PAGE.format(path=path, language=language, text=text)
    return File.generated(config, uri, content=shown)
