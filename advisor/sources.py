"""Sources as they are cited: `knowledge/sources.yaml` by id. An id that is not there is cited as it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from advisor.texts import read_knowledge


def source(name: str) -> Mapping[str, Any]:
    """The entry of one source; empty where there is none."""
    found = read_knowledge("sources.yaml")["sources"].get(name, {})
    return found if isinstance(found, Mapping) else {}


def cite(name: str) -> str:
    """Title and year, for a list of reasons."""
    title, year = source(name).get("title", name), source(name).get("year")
    return f"{title} ({year})" if year else str(title)


def cite_briefly(name: str) -> str:
    """Authors and year, where there is little room: ``Lewis et al. 2020``."""
    found = source(name)
    return f"{found['authors']} {found['year']}" if {"authors", "year"} <= set(found) else name


def link(name: str) -> str:
    """The source's address, where it is one a browser may follow; else empty."""
    url = str(source(name).get("url", ""))
    return url if url.startswith(("https://", "http://")) else ""
