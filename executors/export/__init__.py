"""A tuned run handed over to others: adapter, merged weights or GGUF, none of it before it answers as the run does.

Importing this package is cheap; torch and transformers are loaded when something is exported.
"""

from __future__ import annotations

from executors.export.exporting import FORMS, Exported, Form, export_run
from executors.export.gguf import PRECISIONS, Precision

__all__ = ["FORMS", "PRECISIONS", "Exported", "Form", "Precision", "export_run"]
