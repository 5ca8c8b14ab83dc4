"""Files of other programs, made by hand: a PDF with pages and bookmarks, a Word document with styles and tables."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from xml.sax.saxutils import escape

BOX = "/MediaBox [0 0 595 842] /Resources << /Font << /F1 3 0 R >> >>"
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
TYPES = (
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/>'
)
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def pdf(pages: Sequence[Sequence[str]], bookmarks: Sequence[tuple[str, int]] = (), title: str = "") -> bytes:
    """A PDF whose pages have these lines of text; bookmarks are (name, page from 1), all on one level."""
    objects = [
        "<< /Type /Catalog /Pages 2 0 R /Outlines 4 0 R >>",
        "",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    first, last = 5 + 2 * len(pages), 4 + 2 * len(pages) + len(bookmarks)
    objects.append(f"<< /First {first} 0 R /Last {last} 0 R /Count {len(bookmarks)} >>" if bookmarks else "<< >>")
    for number, lines in enumerate(pages):
        shown = " ".join(f"({_escaped(line)}) Tj T*" for line in lines)
        stream = f"BT /F1 11 Tf 14 TL 50 800 Td {shown} ET"
        objects += [
            f"<< /Type /Page /Parent 2 0 R {BOX} /Contents {6 + 2 * number} 0 R >>",
            f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream",
        ]
    for number, (name, page) in enumerate(bookmarks):
        following = f"/Next {first + number + 1} 0 R" if number + 1 < len(bookmarks) else ""
        objects.append(f"<< /Title ({_escaped(name)}) /Parent 4 0 R /Dest [{3 + 2 * page} 0 R /Fit] {following} >>")
    kids = " ".join(f"{5 + 2 * number} 0 R" for number in range(len(pages)))
    objects[1] = f"<< /Type /Pages /Count {len(pages)} /Kids [{kids}] >>"
    objects.append(f"<< /Title ({_escaped(title)}) >>")
    return _joined(objects)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")


def _joined(objects: Sequence[str]) -> bytes:
    out, places = bytearray(b"%PDF-1.4\n"), []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1")
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    size, start = len(objects) + 1, len(out)
    out += f"xref\n0 {size}\n0000000000 65535 f \n{table}".encode()
    out += f"trailer\n<< /Size {size} /Root 1 0 R /Info {len(objects)} 0 R >>\nstartxref\n{start}\n%%EOF\n".encode()
    return bytes(out)


Block = tuple[str, str] | list[list[str]]
"""A paragraph with the name of its style, or a table."""


def docx(blocks: Sequence[Block], header_row: bool = True) -> bytes:
    """A Word document of these blocks; the first row of its tables is marked as their head."""
    body = "".join(_table(b, header_row) if isinstance(b, list) else _paragraph(*b) for b in blocks)
    names = dict.fromkeys(block[0] for block in blocks if isinstance(block, tuple) and block[0])
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="s{n}"><w:name w:val="{name}"/></w:style>'
        for n, name in enumerate(names)
    )
    for n, name in enumerate(names):
        body = body.replace(f'w:pStyle w:val="{name}"', f'w:pStyle w:val="s{n}"')
    files = {
        "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types">{TYPES}</Types>',
        "_rels/.rels": _relationships("officeDocument", "word/document.xml"),
        "word/_rels/document.xml.rels": _relationships("styles", "styles.xml"),
        "word/styles.xml": f'<w:styles xmlns:w="{WORD}">{styles}</w:styles>',
        "word/document.xml": f'<w:document xmlns:w="{WORD}"><w:body>{body}</w:body></w:document>',
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, f'<?xml version="1.0" encoding="UTF-8"?>{text}')
    return out.getvalue()


def _relationships(kind: str, target: str) -> str:
    one = f'<Relationship Id="r1" Type="{OFFICE}/{kind}" Target="{target}"/>'
    return f'<Relationships xmlns="{PACKAGE}/relationships">{one}</Relationships>'


def _paragraph(style: str, text: str) -> str:
    named = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{named}<w:r><w:t>{escape(text)}</w:t></w:r></w:p>"


def _table(rows: list[list[str]], header_row: bool) -> str:
    out = []
    for number, cells in enumerate(rows):
        row = "".join(f"<w:tc>{_paragraph('', cell)}</w:tc>" for cell in cells)
        head = "<w:trPr><w:tblHeader/></w:trPr>" if header_row and not number else ""
        out.append(f"<w:tr>{head}{row}</w:tr>")
    return f"<w:tbl>{''.join(out)}</w:tbl>"
