"""Retrieval-augmented answers: documents split, indexed and searched, answers read from what was found.

Covered: Markdown and text files, dense and lexical search joined by rank, three readers (see `reader`), every answer
with the passages it rests on. Where the models do not speak the documents' language, retrieval is lexical and answers
are quotations, and that is said. Not covered yet: changing an index in place, reranking, citations within answers.
"""

from executors.retriever.build import RagExecutor
from executors.retriever.params import RagParams, Setup
from executors.retriever.predictor import RagPredictor

__all__ = ["RagExecutor", "RagParams", "RagPredictor", "Setup"]
