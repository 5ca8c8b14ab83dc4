"""Documents from files and folders, of the kinds people keep them in, as Markdown.

Covered: Markdown and plain text, HTML, PDF with text, Word (.docx), tables (.csv, .jsonl), in any encoding that
`executors.data` can tell; sub-folders; headings, tables, pages and rows. Files that cannot be read are listed, never
fatal, as long as one can. Not covered: pictures of text (scans), old Word (.doc), slides, compressed files.
"""

from executors.retriever.documents.folder import (
    find_files,
    folder_problems,
    iter_documents,
    read_documents,
    skipped_notes,
    walk_files,
)
from executors.retriever.documents.model import Document, Part
from executors.retriever.documents.reading import ENDINGS, read_document
from executors.retriever.documents.text import heading_lines, headings

__all__ = [
    "ENDINGS",
    "Document",
    "Part",
    "find_files",
    "folder_problems",
    "heading_lines",
    "headings",
    "iter_documents",
    "read_document",
    "read_documents",
    "skipped_notes",
    "walk_files",
]
