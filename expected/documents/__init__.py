"""Vendors' documents: reads the README with a table, makes a device file of it, compares the two."""

from __future__ import annotations

from expected.documents.checking import differences
from expected.documents.importing import Given, device_toml
from expected.documents.model import Complaint, Document, DocumentError, Row, Stated
from expected.documents.quoting import quoted, unquoted
from expected.documents.reading import read_document, read_document_file

__all__ = [
    "Complaint",
    "Document",
    "DocumentError",
    "Given",
    "Row",
    "Stated",
    "device_toml",
    "differences",
    "quoted",
    "read_document",
    "read_document_file",
    "unquoted",
]
