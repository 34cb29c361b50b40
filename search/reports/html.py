"""A self-contained HTML page: its style, its one script, and functions to build it.

All outside text (names, reasons, paths) is escaped with `text`. The page's security policy forbids
fetching anything and running any script but its own.
"""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby

from search.figures.svg import Chart


def text(value: str) -> str:
    """Escape outside text for HTML; undecodable bytes in a name are shown as numbers."""
    return escape(value.encode("utf-8", "backslashreplace").decode())


_STYLE = """
:root, :root[data-theme=light] {
  color-scheme: light;
  --ink: #1b1f24; --muted: #5f656c; --lines: #e3e5e8; --page: #ffffff; --card: #f5f6f8;
  --blue: #0072b2; --vermilion: #c65600; --orange: #d89400; --green: #00875f; --grey: #878d94;
}
:root[data-theme=dark] { DARK }
@media (prefers-color-scheme: dark) { :root:not([data-theme=light]) { DARK } }
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 1180px; padding: 1rem 1rem 4rem; background: var(--page);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: break-word;
}
header { display: flex; flex-wrap: wrap; gap: .25rem 1rem; align-items: baseline; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .5rem 0; flex: 1 1 16rem; min-width: 0; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .75rem; padding-top: .75rem;
     border-top: 1px solid var(--lines); }
p, ul { margin: .5rem 0; max-width: 75ch; }
li { margin: .3rem 0; }
a { color: var(--blue); }
button { font: inherit; font-size: .9rem; color: var(--ink); background: var(--card);
  border: 1px solid var(--lines); border-radius: .4rem; padding: .25rem .75rem; cursor: pointer; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 15rem), 1fr));
  gap: .75rem; margin: 1rem 0; }
.tile { background: var(--card); border-radius: .6rem; padding: .75rem 1rem; }
.tile b { display: block; font-size: 2rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tile.first b { color: var(--blue); }
.tile span { display: block; font-size: .9rem; color: var(--muted); }
.charts { display: grid; gap: 1.5rem; margin: 1rem 0;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
.charts.small { gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(10.5rem, 1fr)); }
@media (min-width: 60rem) { .charts.small { grid-template-columns: repeat(5, 1fr); } }
.split { display: grid; gap: 0 2.5rem; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
time, .command { white-space: nowrap; }
.command { display: inline-block; max-width: 100%; overflow-x: auto; vertical-align: bottom; }
figure { margin: 0; min-width: 0; break-inside: avoid; }
figure:only-child { max-width: 40rem; }
figcaption { font-size: .9rem; color: var(--muted); max-width: 65ch; }
.chart { display: block; width: 100%; height: auto; }
.chart text { fill: var(--ink); font-family: system-ui, sans-serif; }
.chart [data-tip] { cursor: pointer; }
.chart g[data-tip]:hover > path, .chart g[data-tip].on > path { stroke-width: 3 !important;
  opacity: 1 !important; }
.wide { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .3rem .9rem .3rem 0;
  border-bottom: 1px solid var(--lines); }
th { font-weight: 600; white-space: nowrap; }
td.n { text-align: right; white-space: nowrap; }
td.why { min-width: 12rem; white-space: pre-line; }
td.name { white-space: nowrap; }
tr.best td { font-weight: 600; }
pre { background: var(--card); border-radius: .4rem; padding: .75rem; font-size: .85rem;
  overflow-x: auto; line-height: 1.5; }
code { font-size: .9em; overflow-wrap: anywhere; }
summary { cursor: pointer; font-weight: 600; margin: .75rem 0; }
#tip { position: fixed; z-index: 9; max-width: min(28rem, calc(100vw - 16px));
  padding: .5rem .75rem; background: var(--ink); color: var(--page); border-radius: .4rem;
  font-size: .85rem; line-height: 1.4; white-space: pre-line; pointer-events: none; }
#tip[hidden] { display: none; }
@media print {
  :root, :root[data-theme=dark] { color-scheme: light; --ink: #1b1f24; --muted: #5f656c;
    --lines: #e3e5e8; --page: #ffffff; --card: #f5f6f8; --blue: #0072b2; --vermilion: #c65600;
    --orange: #d89400; --green: #00875f; --grey: #878d94; }
  body { max-width: none; font-size: 11pt; padding: 0; }
  button, #tip { display: none; }
  .charts { grid-template-columns: 1fr 1fr; }
  .charts.small { grid-template-columns: 1fr 1fr 1fr; }
  h2 { break-after: avoid; }
}
""".replace(
    "DARK",
    """color-scheme: dark;
  --ink: #e7e9ec; --muted: #a3aab2; --lines: #343a41; --page: #15181c; --card: #20242a;
  --blue: #56b4e9; --vermilion: #ff8a4c; --orange: #f0b429; --green: #3ecf9f; --grey: #8b939c;
""",
)

# Tooltips: browsers show an SVG's title after a delay, and never on a phone.
_SCRIPT = """
const root = document.documentElement, tip = document.getElementById('tip');
document.getElementById('theme').addEventListener('click', () => {
  const dark = root.dataset.theme ? root.dataset.theme === 'dark'
    : matchMedia('(prefers-color-scheme: dark)').matches;
  root.dataset.theme = dark ? 'light' : 'dark';
});
for (const title of document.querySelectorAll('.chart title')) {
  const owner = title.parentElement;
  owner.dataset.tip = title.textContent;
  title.remove();
  for (const path of owner.querySelectorAll(':scope > path')) {  // a line is thin to aim at
    const wider = path.cloneNode();
    wider.setAttribute('style', 'fill: none; stroke: transparent; stroke-width: 9');
    owner.append(wider);
  }
}
let last = null;
const show = (event) => {
  const owner = event.target.closest?.('[data-tip]');
  if (last !== owner) {
    last?.classList.remove('on');
    owner?.classList.add('on');
    last = owner;
  }
  tip.hidden = !owner;
  if (!owner) return;
  tip.textContent = owner.dataset.tip;
  const box = tip.getBoundingClientRect();
  tip.style.left = Math.max(8, Math.min(event.clientX + 12, innerWidth - box.width - 8)) + 'px';
  const above = event.clientY - box.height - 12;
  tip.style.top = (above > 8 ? above : event.clientY + 16) + 'px';
};
document.addEventListener('pointermove', show);
document.addEventListener('pointerdown', show);
"""


def page(title: str, body: Iterable[str]) -> str:
    """The complete page; ``title`` is plain text, ``body`` is HTML."""
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'"
    )
    return "\n".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<link rel="icon" href="data:,">',
            f"<title>{text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
            *body,
            f'<div id="tip" role="status" hidden></div>\n<script>{_SCRIPT}</script>',
            "</body>\n</html>\n",
        )
    )


def tile(label: str, value: str, note: str, *, first: bool = False) -> str:
    """A large figure with label and note, from plain text."""
    kind = "tile first" if first else "tile"
    return (
        f'<div class="{kind}"><span>{text(label)}</span><b>{text(value)}</b>'
        f"<span>{text(note)}</span></div>"
    )


def gallery(charts: Sequence[tuple[Chart, str]]) -> str:
    """Charts side by side, each with its SVG."""
    parts = []
    for group, members in groupby(charts, key=lambda pair: pair[0].group):
        kind = "charts small" if group else "charts"
        parts.append(f'<div class="{kind}">')
        for chart, drawing in members:
            caption = f"<figcaption>{text(chart.caption)}</figcaption>" if chart.caption else ""
            parts.append(f'<figure id="{text(chart.name)}">{drawing}{caption}</figure>')
        parts.append("</div>")
    return "\n".join(parts)


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: Sequence[int] = (),
    why: int | None = None,
    best: int | None = None,
) -> str:
    """A table of plain text.

    Args:
        headings: Column headings.
        rows: Cells.
        numbers: Right-aligned columns.
        why: The column with sentences.
        best: The row to highlight.
    """

    def cell(place: int, content: str) -> str:
        kind = ' class="n"' if place in numbers else ' class="why"' if place == why else ""
        kind = kind or ' class="name"'
        return f"<td{kind}>{text(content)}</td>"

    head = "".join(f"<th>{text(heading)}</th>" for heading in headings)
    lines = []
    for place, row in enumerate(rows):
        kind = ' class="best"' if place == best else ""
        cells = "".join(cell(column, content) for column, content in enumerate(row))
        lines.append(f"<tr{kind}>{cells}</tr>")
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )
