"""The few pages of this server: no script, one style sheet, nothing from elsewhere."""

import base64
import hashlib
from html import escape

from starlette.responses import HTMLResponse

STYLE = """
:root {
  color-scheme: light dark;
  --line: light-dark(#d7dae0, #3a3e46); --quiet: light-dark(#565c67, #a9afba);
  --card: light-dark(#ffffff, #1d2025); --link: light-dark(#1d4ed8, #93b4ff);
  --ink: light-dark(#16181d, #eceef2); --wrong: light-dark(#b42318, #ff9d94);
  --strong: light-dark(#1d4ed8, #93b4ff); --on-strong: light-dark(#ffffff, #10131a);
  font: 16px/1.5 system-ui, sans-serif;
}
* { box-sizing: border-box; }
body { max-width: 44rem; margin: 2rem auto; padding: 0 1rem; color: var(--ink);
  background: light-dark(#f6f7f9, #131519); overflow-wrap: anywhere; }
body.narrow { max-width: 26rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 1rem; }
h2 { font-size: 1.05rem; margin: 0; }
p { margin: .5rem 0; }
a { color: var(--link); }
.quiet { color: var(--quiet); font-size: .9rem; }
.wrong { color: var(--wrong); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: 1rem 1.1rem; margin: 1rem 0; }
.card > :first-child, [type=hidden] + label { margin-top: 0; }
.card > :last-child { margin-bottom: 0; }
pre { white-space: pre-wrap; font: inherit; margin: 0; }
code { font-size: 1.15rem; letter-spacing: .1em; }
label { display: block; margin: .75rem 0; }
label.check { display: flex; gap: .6rem; align-items: baseline; }
input:not([type=checkbox], [type=hidden]) { display: block; width: 100%; margin-top: .25rem; }
input, button { font: inherit; padding: .5rem .7rem; border-radius: .4rem;
  border: 1px solid light-dark(#858b96, #7b828e); background: var(--card); color: inherit; }
button { cursor: pointer; min-height: 2.75rem; }
button.main { background: var(--strong); border-color: var(--strong); color: var(--on-strong); }
.row { display: flex; flex-wrap: wrap; gap: .6rem; align-items: end; margin: 1rem 0 0; }
.row label { flex: 1 1 12rem; margin: 0; }
.row.search { margin: 0 0 1rem; }
.row.end button { flex: 1; }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
"""
STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()


def page(
    title: str,
    content: str,
    *,
    status: int = 200,
    form_action: str = "'none'",
    narrow: bool = False,
) -> HTMLResponse:
    """`content` is HTML, the title is text; `form_action` says where its forms may lead."""
    policy = (
        f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; base-uri 'none'; "
        f"frame-ancestors 'none'; form-action {form_action}"
    )
    return HTMLResponse(
        f'<!doctype html><html lang="en"><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style>"
        f"<body{' class=narrow' if narrow else ''}><main><h1>{escape(title)}</h1>{content}</main>"
        "</body></html>",
        status_code=status,
        headers={
            "content-security-policy": policy,
            "referrer-policy": "no-referrer",
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
        },
    )
