"""Retrieval-augmented answers: documents split, indexed and searched, answers read from what was found and cited.

Covered: documents of many kinds, an index that follows them, dense and lexical search joined and reranked where asked,
readers that copy and a model that writes, every answer with the passages it rests on, abstention where it would be
guessing. Where the models do not speak the documents' language, retrieval is lexical and answers are quotations, and
that is said.

    documents, splitting      files -> passages        index       one folder, kept like the documents
    lexical, search, rerank,  questions -> passages    params      what can be told, and the setup of a finished run
    rewriting, langchain                               build       documents + training rows -> a finished run
    reader, packing, citing,  passages -> answers      chooser,    what is chosen on training questions
    abstention                                         development
    predictor                 all of it, in order      evaluation, triage    how good it is, and why not better
"""

from executors.retriever.build import RagExecutor
from executors.retriever.params import RagParams, Setup
from executors.retriever.predictor import RagPredictor

__all__ = ["RagExecutor", "RagParams", "RagPredictor", "Setup"]
