"""An earlier run's index taken over: its passages, its vectors and its way to search, with another reader on top."""

from __future__ import annotations

import shutil
from dataclasses import fields, replace
from pathlib import Path

from executors.base import Job, Problem, UserError
from executors.retriever.index import read_manifest
from executors.retriever.params import SPEC, RagParams, Setup, read_setup
from executors.retriever.search import SearchSettings

INDEX = "index"


def earlier_artifact(run: str) -> Path:
    """The folder with a finished index and how it is searched. Raises `UserError` where `run` has none."""
    from executors.runs import find_run

    folder = find_run(run)
    for place in (folder, folder / "artifact"):
        if (place / SPEC).is_file() and (place / INDEX).is_dir():
            return place
    raise UserError(
        f"params.retriever: '{run}' holds no finished index",
        "name a finished run of rag, or leave it out: the documents are indexed",
        Problem(f"params.retriever：“{run}”中没有建好的索引", "请指定一个已完成的 rag 运行，或去掉它：将为文档建索引"),
    )


def earlier_problems(run: str) -> list[Problem]:
    """The fault of a name of an earlier run, seen without work."""
    if not run:
        return []
    try:
        earlier_artifact(run)
    except UserError as error:
        return [error.problem]
    return []


def take_over(job: Job, params: RagParams) -> tuple[RagParams, str]:
    """Copy the index of `params.retriever` to the job's folder, once; the parameters as they were there, the plan's own
    over them, and the name of its sentence encoder."""
    artifact = earlier_artifact(params.retriever)
    place = job.folder / INDEX
    if not place.is_dir():
        unfinished = place.with_name(f"{INDEX}.tmp")
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(artifact / INDEX, unfinished)
        unfinished.rename(place)
    made = read_manifest(place)
    there = {**_searched(read_setup(artifact / SPEC)), **_cut(made.splitter.chunk_tokens, made.splitter.overlap)}
    own = {name: value for name, value in there.items() if name not in job.plan.params}
    encoder = made.embedder.name if made.embedder else job.plan.embedder
    return replace(params, **own, search_seconds=0.0), encoder  # type: ignore[arg-type]


def _searched(setup: Setup) -> dict[str, object]:
    settings = {field.name: getattr(setup.search, field.name) for field in fields(SearchSettings)}
    return {"search": settings.pop("how"), **settings, "k": setup.k, "sources": setup.sources}


def _cut(chunk_tokens: int, overlap: int) -> dict[str, object]:
    return {"chunk_tokens": chunk_tokens, "overlap": overlap}
