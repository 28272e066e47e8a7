"""The colours and faces of the picture, for light and for dark viewers."""

from __future__ import annotations

__all__ = ["STYLE"]

_RULES = """\
text{{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","Noto Sans",Arial,sans-serif;fill:{ink}}}
.mono{{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace}}
.muted{{fill:{muted}}}
.page{{fill:{page}}}
.box{{fill:{box};stroke:{line}}}
.card{{fill:{page};stroke:{line}}}
.badge{{fill:{page};stroke:{line}}}
.wire{{fill:none;stroke-width:1.75}}
.event.wire{{stroke-dasharray:5 4}}
.halo{{fill:none;stroke:{page};stroke-width:5}}
.request.wire{{stroke:{request}}}.request.end{{fill:{request}}}
.remote.wire{{stroke:{remote}}}.remote.end{{fill:{remote}}}
.local.wire{{stroke:{local}}}.local.end{{fill:{local}}}
.event.wire{{stroke:{event}}}.event.end{{fill:{event}}}
"""
_LIGHT = {
    "ink": "#1f2328",
    "muted": "#59636e",
    "page": "#ffffff",
    "box": "#f3f5f8",
    "line": "#ccd3db",
    "request": "#8250df",
    "remote": "#0969da",
    "local": "#6e7781",
    "event": "#bc4c00",
}
_DARK = {
    "ink": "#e6edf3",
    "muted": "#9ba5b0",
    "page": "#0d1117",
    "box": "#161b22",
    "line": "#39424d",
    "request": "#b083f0",
    "remote": "#539bf5",
    "local": "#8b949e",
    "event": "#e0823d",
}

STYLE = f"{_RULES.format(**_LIGHT)}@media (prefers-color-scheme:dark){{\n{_RULES.format(**_DARK)}}}\n"
"""A style sheet without custom properties, which converters of SVG do not know."""
