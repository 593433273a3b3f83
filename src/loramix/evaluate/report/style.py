"""How the page looks: on a wide and a narrow screen, in light and in dark, on paper."""

from __future__ import annotations

_LIGHT = """
    --paper: #fbfbf9; --card: #ffffff; --sunk: #f3f3ef; --ink: #1d2126; --muted: #5f676f;
    --line: #e1e2dd; --accent: #2f6fde; --second: #e08a1e; --base: #a9b0b8; --good: #1d7a44;
    --bad: #b93425;
    --series-1: #2f6fde; --series-2: #e08a1e; --series-3: #2a9d76; --series-4: #c2489a;
    --series-5: #7a5fd0; --series-6: #8a8f96;"""
_DARK = """
    --paper: #14171a; --card: #1c2024; --sunk: #171b1f; --ink: #e6e8ea; --muted: #9fa8b1;
    --line: #30363c; --accent: #5b94f5; --second: #f0a643; --base: #6b747d; --good: #4cc38a;
    --bad: #f2867d;
    --series-1: #5b94f5; --series-2: #f0a643; --series-3: #4fc39a; --series-4: #e279bd;
    --series-5: #a48df0; --series-6: #98a1aa;"""

COLORS = f"""
:root {{ color-scheme: light dark;{_LIGHT}
}}
@media screen and (prefers-color-scheme: dark) {{
  :root {{{_DARK}
  }}
}}
"""
STYLE = (
    COLORS
    + """\
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue",
  "Liberation Sans", sans-serif; }
.sheet { max-width: 58rem; margin: 0 auto; padding: 3.5rem 1.5rem 4rem; }
a { color: inherit; text-decoration-color: var(--line); text-underline-offset: .2em; }
a:hover { text-decoration-color: currentColor; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 4px; }

/* Head, key numbers, contents */
h1 { font-size: clamp(1.8rem, 5vw, 2.5rem); line-height: 1.15; margin: 0 0 .6rem;
  letter-spacing: -.025em; font-weight: 680; overflow-wrap: anywhere; }
.lead { font-size: 1.08rem; color: var(--muted); max-width: 44rem; margin: 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.2rem, 1fr));
  margin: 2rem 0 1.6rem; background: var(--card); border: 1px solid var(--line);
  border-radius: 14px; overflow: hidden; }
.tile { box-shadow: 1px 1px 0 var(--line); padding: .95rem 1.1rem 1rem; }
.tile b { display: block; font-size: 1.7rem; font-weight: 660; line-height: 1.2;
  letter-spacing: -.02em; font-variant-numeric: tabular-nums; }
.tile span { display: block; color: var(--muted); font-size: .82rem; line-height: 1.35;
  margin-top: .15rem; }
.summary { max-width: 46rem; margin: 0; padding: 0; list-style: none; }
.summary li { padding: .15rem 0 .15rem 1.3rem; position: relative; }
.summary li::before { content: ""; position: absolute; left: .15rem; top: .78rem; width: .45rem;
  height: .45rem; border-radius: 50%; background: var(--accent); }
nav { margin: 1.8rem 0 0; font-size: .88rem; }
nav ol { display: flex; flex-wrap: wrap; gap: .4rem; margin: 0; padding: 0; list-style: none; }
nav a { display: block; padding: .25rem .75rem; border: 1px solid var(--line);
  border-radius: 99px; background: var(--card); text-decoration: none; color: var(--muted); }
nav a:hover { color: var(--ink); border-color: var(--muted); }

/* A section: what it is, the figure, what to see */
section { margin-top: 3.4rem; scroll-margin-top: 1.5rem; }
h2 { font-size: 1.45rem; line-height: 1.25; margin: 0 0 .3rem; letter-spacing: -.018em;
  font-weight: 650; }
h3 { font-size: .95rem; font-weight: 620; margin: 0 0 .6rem; }
p { margin: .4rem 0 1rem; max-width: 46rem; }
.about, .note { color: var(--muted); }
.note { font-size: .86rem; margin: .6rem 0 0; }
figure { margin: 1rem 0 0; }
figcaption { margin: 0 0 .7rem; padding-left: .85rem; border-left: 3px solid var(--accent);
  max-width: 46rem; font-weight: 520; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 14px;
  padding: 1.15rem 1.3rem; min-width: 0; }
.scroll { overflow-x: auto; }
.pair { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: .9rem; }
.pair > figure { display: flex; flex-direction: column; }
.pair > figure > .card { flex: 1; }
.small { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.2rem, 1fr)); gap: .7rem; }
.plot { width: 100%; height: auto; display: block; }
.plot text { font-family: inherit !important; }
.legend { display: flex; flex-wrap: wrap; gap: .15rem 1.1rem; font-size: .84rem;
  color: var(--muted); margin: 0 0 .8rem; }
.plots + .legend { margin: .7rem 0 0; }
.legend i { display: inline-block; width: .7rem; height: .7rem; border-radius: 3px;
  margin-right: .4rem; vertical-align: -.05em; }
.legend i.whisker { height: 2px; border-radius: 0; background: var(--ink); vertical-align: .25em; }
.legend i.goal { width: 0; border-left: 2px dashed var(--muted); border-radius: 0; }

/* Bars */
.group { display: grid; grid-template-columns: 8.5rem minmax(0, 1fr); gap: 0 1rem;
  padding: .7rem 0; border-top: 1px solid var(--line); }
.group:first-of-type { border-top: 0; padding-top: 0; }
.group:last-child { padding-bottom: 0; }
.group > b { font-weight: 620; line-height: 1.35; overflow-wrap: anywhere; }
.group > b small { display: block; color: var(--muted); font-weight: 400; font-size: .8rem; }
.row { display: grid; grid-template-columns: 7rem minmax(0, 1fr) 9.2rem; gap: .7rem;
  align-items: center; font-size: .88rem; line-height: 1.3; padding: .16rem 0; }
.wide .row { grid-template-columns: 10rem minmax(0, 1fr) 9.2rem; }
.diff .row { grid-template-columns: 10rem minmax(0, 1fr) 10.6rem; }
.flat { grid-template-columns: minmax(0, 1fr); }
.flat .row { grid-template-columns: 11rem minmax(0, 1fr) 5rem; }
.row > span { color: var(--muted); overflow-wrap: anywhere; }
.track { position: relative; height: .78rem; background: var(--sunk); border-radius: 3px; }
.track i { position: absolute; top: 0; bottom: 0; left: 0; border-radius: 3px; }
.track u { position: absolute; top: calc(50% - 1px); height: 2px; background: var(--ink);
  min-width: 2px; }
.track s { position: absolute; top: -.2rem; bottom: -.2rem; border-left: 2px dashed var(--muted); }
.row em { font-style: normal; font-variant-numeric: tabular-nums; font-weight: 600;
  white-space: nowrap; }
.row em small { color: var(--muted); font-weight: 400; font-size: .8rem; margin-left: .35rem; }

/* Tables */
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums;
  font-size: .92rem; }
th { text-align: left; color: var(--muted); font-weight: 500; font-size: .82rem; }
th, td { padding: .45rem 1rem .45rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th:last-child, td:last-child { padding-right: 0; }
tbody tr:last-child > * { border-bottom: 0; }
td.n, th.n { text-align: right; }
td.n { white-space: nowrap; }
.sub { display: block; color: var(--muted); font-size: .8rem; }
thead th { vertical-align: bottom; }
.met, .missed { white-space: nowrap; font-weight: 600; }
.met { color: var(--good); }
.missed { color: var(--bad); }
.heat { width: auto; border-collapse: separate; border-spacing: 2px; font-size: .84rem;
  margin: 0 auto; }
.heat th, .heat td { border: 0; padding: 0 .3rem; }
.heat tbody th { text-align: right; vertical-align: middle; color: var(--ink);
  padding-right: .5rem; white-space: nowrap; position: sticky; left: 0; background: var(--card); }
.heat thead th { vertical-align: bottom; height: 1px; padding: .3rem 0; }
.heat thead th span { writing-mode: vertical-rl; transform: rotate(180deg); display: inline-block;
  white-space: nowrap; color: var(--ink); }
.heat thead th, .heat td { text-align: center; }
.heat td { min-width: 2.3rem; height: 2.3rem; vertical-align: middle; border-radius: 5px;
  background: color-mix(in srgb, var(--accent) calc(var(--share) * 62%), var(--sunk)); }
.heat td.own { font-weight: 680; }
.heat td small { display: block; font-weight: 400; font-size: .68em; line-height: 1; }
.heat caption { caption-side: bottom; color: var(--muted); padding-top: .5rem; font-size: .82rem; }

/* Prompts */
.samples { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: .9rem; }
.sample { display: flex; flex-direction: column; }
.sample h3 { font-size: .82rem; font-weight: 500; color: var(--muted); margin: 0 0 .35rem; }
.sample .prompt { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0 0 .9rem;
  line-height: 1.5; }
.mix { display: flex; gap: 2px; height: .7rem; border-radius: 4px; overflow: hidden;
  margin-top: auto; }
.mix i { display: block; height: 100%; }
.sample .legend { margin: .45rem 0 0; gap: .05rem .9rem; font-size: .8rem; }
.sample .legend + .legend { margin-top: .1rem; }
.sample .text { white-space: pre-wrap; overflow-wrap: anywhere; margin: .7rem 0 0;
  padding: .65rem .85rem; background: var(--sunk); border-radius: 8px;
  font: .84rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; }
code { font: .9em ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace;
  overflow-wrap: anywhere; }
footer { margin-top: 3.5rem; padding-top: 1rem; border-top: 1px solid var(--line);
  color: var(--muted); font-size: .85rem; overflow-wrap: anywhere; }

/* Wide: the contents stay at the side */
@media screen and (min-width: 82rem) {
  .sheet { max-width: 73rem; display: grid; grid-template-columns: 11rem minmax(0, 58rem);
    gap: 0 3rem; }
  .sheet > * { grid-column: 2; }
  .sheet > nav { grid-column: 1; grid-row: 1 / span 99; margin: .4rem 0 0; }
  nav ol { position: sticky; top: 2rem; flex-direction: column; gap: 0;
    border-left: 1px solid var(--line); }
  nav a { border: 0; border-radius: 0; background: none; padding: .22rem .9rem; }
}
@media (max-width: 46rem) {
  .sheet { padding: 2rem 1rem 3rem; }
  .pair, .samples { grid-template-columns: minmax(0, 1fr); }
  .tiles { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .tiles .tile:last-child:nth-child(odd) { grid-column: 1 / -1; }
  .card { padding: .95rem 1rem; }
  section { margin-top: 2.6rem; }
  .group { grid-template-columns: minmax(0, 1fr); gap: .3rem; }
  .row { grid-template-columns: 4rem minmax(0, 1fr) 4.1rem; gap: .6rem; font-size: .84rem; }
  .wide .row { grid-template-columns: 8rem minmax(0, 1fr) 4.1rem; }
  .flat .row { grid-template-columns: 8rem minmax(0, 1fr) 4.1rem; }
  .diff .row { grid-template-columns: 6rem minmax(0, 1fr) 6.2rem; }
  .row em small { display: block; margin: 0; font-size: .7rem; }
  .small { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .heat { font-size: .76rem; border-spacing: 1px; }
  .heat td { min-width: 1.95rem; height: 1.95rem; padding: 0 .1rem; }
  td, th { padding-right: .6rem; }
}
@page { margin: 16mm 14mm; }
@media print {
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  html { font-size: 10pt; }
  body { background: #fff; }
  .sheet { max-width: none; padding: 0; }
  nav { display: none; }
  section { margin-top: 1.6rem; }
  h2, h3, .about, figcaption, .legend { break-after: avoid; }
  p, figure, figcaption, .card, .pair, .tiles, .group, tr, .sample, .plot { break-inside: avoid; }
  /* long ones may go on, between their rows */
  figure.long, .card.long { break-inside: auto; }
  .scroll { overflow: visible; }
  .tiles { grid-template-columns: repeat(auto-fit, minmax(7.2rem, 1fr)); }
  .small { grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); }
  .heat tbody th { position: static; }
  a { text-decoration: none; }
}
"""
)
