"""The chart drawn, bare or with the path a decision walked: Mermaid, SVG, or an outline for a terminal.

`scene` says what is drawn, in one language; `layers` and `lettering` say where; `svg`, `trail`, `mermaid` and `outline`
write it down. Not covered: charts with cycles, or with more than some hundred nodes (the layout is for reading).
"""

from __future__ import annotations
