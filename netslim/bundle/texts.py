"""Texts of a bundle are shown in terminals and in browsers, so they must not control these."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any

from netslim.errors import BundleError, printable

__all__ = ["markdown_text", "require_no_html", "require_printable", "require_printable_json"]

_TAG = re.compile(r"<[A-Za-z/!?]")
_MARKDOWN = re.compile(r"([\\`\[\]|])")


def require_printable(text: str, field: str, *, lines: bool = False) -> None:
    """Refuse a text with control characters, such as the escape codes of a terminal.

    Args:
        field: what the text is, for the message.
        lines: line breaks and tabs are allowed.

    Raises:
        BundleError: it has such characters.
    """
    for line, escaped in zip(text.split("\n"), printable(text, lines=True).split("\n"), strict=True):
        if line != escaped:
            raise BundleError(f"contains control characters: {escaped[:80]}", field=field)
    if not lines and printable(text) != text:
        raise BundleError(f"contains a line break: {printable(text)[:80]}", field=field)


def require_printable_json(value: Any, field: str) -> None:
    """`require_printable` for each text in JSON data, also for the names of its fields."""
    for text in _texts(value):
        require_printable(text, field)


def require_no_html(text: str, field: str) -> None:
    """Refuse Markdown with HTML tags, which a browser would run when it shows the page.

    Raises:
        BundleError: it has such a tag.
    """
    if tag := _TAG.search(text):
        shown = text[tag.start() : tag.start() + 40]
        raise BundleError(f"contains HTML: {shown!r}", field=field)


def markdown_text(text: str) -> str:
    """The text as Markdown that shows exactly this text: without HTML, links, code or table cells."""
    one_line = " ".join(printable(text, lines=True).split())
    return _MARKDOWN.sub(r"\\\1", html.escape(one_line, quote=False))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield key
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)
