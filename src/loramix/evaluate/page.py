"""How the report looks: colours for light, dark and paper; no scripts, nothing from the network."""

from __future__ import annotations

# matplotlib's stand-in colours become these; `standalone` reads the first block, for light
COLORS = """
:root {
  color-scheme: light dark;
  --paper: #f7f7f4; --card: #ffffff; --ink: #1b1f24; --muted: #626a72; --line: #e2e3de;
  --accent: #2f6fde; --second: #e08a1e; --base: #a2a9b1; --good: #1d8348; --bad: #c0392b;
  --series-1: #2f6fde; --series-2: #e08a1e; --series-3: #2a9d76; --series-4: #c2489a;
  --series-5: #7a5fd0; --series-6: #8a8f96; --wash: #eef3fc;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #131619; --card: #1b1f23; --ink: #e6e8ea; --muted: #9aa3ac; --line: #2f353b;
    --accent: #5b94f5; --second: #f0a643; --base: #6b747d; --good: #4cc38a; --bad: #f07167;
    --series-1: #5b94f5; --series-2: #f0a643; --series-3: #4fc39a; --series-4: #e279bd;
    --series-5: #a48df0; --series-6: #98a1aa; --wash: #1a2433;
  }
}
"""
STYLE = (
    COLORS
    + """\
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 3.5rem 1.5rem 4rem; }
h1 { font-size: 2.3rem; line-height: 1.15; margin: 0 0 .6rem; letter-spacing: -.025em; }
section { margin-top: 3.6rem; scroll-margin-top: 1.5rem; }
h2 { font-size: 1.4rem; line-height: 1.25; margin: 0 0 .4rem; letter-spacing: -.015em; }
p { margin: .4rem 0 1.1rem; max-width: 44rem; }
.lead { color: var(--muted); font-size: 1.08rem; }
.note { color: var(--muted); font-size: .88rem; }
nav { display: flex; flex-wrap: wrap; gap: .35rem .5rem; margin: 1.6rem 0 0; font-size: .86rem; }
nav a { color: var(--muted); text-decoration: none; padding: .15rem .7rem;
  border: 1px solid var(--line); border-radius: 99px; }
nav a:hover, nav a:focus-visible { color: var(--accent); border-color: var(--accent); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 1.1rem 1.3rem; overflow-x: auto; }
section > .card + .card, .pair + .card, .tiles + .card { margin-top: .9rem; }
figure { margin: 0; }
figcaption { color: var(--muted); font-size: .9rem; line-height: 1.5; margin-top: .8rem;
  padding-top: .7rem; border-top: 1px solid var(--line); max-width: none; }
figcaption b { color: var(--ink); font-weight: 600; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(7.2rem, 1fr)); gap: .8rem;
  margin: 1.8rem 0 0; }
.pair + .tiles { margin-top: .9rem; }
.tile { padding: .9rem 1rem; }
.tile b { display: block; white-space: nowrap; font-size: 1.6rem; font-weight: 650;
  line-height: 1.25;
  letter-spacing: -.02em; font-variant-numeric: tabular-nums; }
.tile span { display: block; color: var(--muted); font-size: .84rem; line-height: 1.35; }
.tile.first { background: var(--wash); border-color: transparent; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(19rem, 1fr)); gap: .9rem; }
.plot { width: 100%; height: auto; display: block; }
.plot text { font-family: inherit !important; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums;
  font-size: .92rem; }
th { text-align: left; color: var(--muted); font-weight: 500; font-size: .82rem; }
th, td { padding: .45rem .9rem .45rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th:last-child, td:last-child { padding-right: 0; }
tr:last-child td { border-bottom: 0; }
td.n, th.n { text-align: right; white-space: nowrap; }
th.n { white-space: normal; }
td.best { font-weight: 650; }
.met, .missed { white-space: nowrap; font-weight: 600; }
.met { color: var(--good); }
.missed { color: var(--bad); }
.samples { display: grid; gap: .9rem; }
.sample h3 { font-size: .8rem; font-weight: 600; color: var(--muted); margin: 0 0 .3rem;
  letter-spacing: .01em; }
.sample .prompt { white-space: pre-wrap; margin: 0 0 .9rem; max-width: none; }
.sample .text { white-space: pre-wrap; overflow-wrap: anywhere; margin: .9rem 0 0;
  padding: .7rem .9rem; background: var(--paper); border-left: 3px solid var(--accent);
  border-radius: 0 8px 8px 0; font: .88rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas,
  monospace; }
.mix { display: flex; gap: 2px; height: 12px; border-radius: 6px; overflow: hidden; }
.mix i { display: block; height: 100%; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; font-size: .84rem;
  color: var(--muted); margin: .45rem 0 0; }
figure .legend { margin: 0 0 .7rem; }
.legend i { display: inline-block; width: .65rem; height: .65rem; border-radius: 3px;
  margin-right: .35rem; }
code { font: .88em ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
footer { margin-top: 3.6rem; padding-top: 1rem; border-top: 1px solid var(--line);
  color: var(--muted); font-size: .85rem; }
@media (max-width: 34rem) {
  main { padding: 2rem 1rem 3rem; }
  h1 { font-size: 1.8rem; }
  .card { padding: .9rem 1rem; }
  figure .plot { min-width: 34rem; }
  .pair figure .plot { min-width: 0; }
}
@media print {
  @page { size: A4; margin: 15mm 14mm; }
  :root { color-scheme: light; --paper: #ffffff; }
  html { font-size: 12.5px; }
  body { font-size: 1rem; }
  body, .mix i, .legend i, .tile, .sample .text {
    -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  main { max-width: none; padding: 0; }
  nav { display: none; }
  section { margin-top: 2.2rem; }
  h2, h2 + p { break-after: avoid; }
  .card, figure, tr { break-inside: avoid; }
  .card:has(> table) { break-inside: auto; }
  .card { overflow: visible; }
  .pair { grid-template-columns: 1fr 1fr; }
  .sample .text { background: #f5f5f2; }
}
"""
)
