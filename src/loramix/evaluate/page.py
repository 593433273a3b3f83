"""The page that report.py fills: one HTML file, no scripts, nothing from the network."""

from __future__ import annotations

COLORS = """
:root {
  color-scheme: light dark;
  --paper: #fbfbf9; --card: #ffffff; --ink: #1d2126; --muted: #687078; --line: #e3e4e0;
  --accent: #2f6fde; --second: #e08a1e; --base: #a9b0b8; --good: #1d8348; --bad: #c0392b;
  --series-1: #2f6fde; --series-2: #e08a1e; --series-3: #2a9d76; --series-4: #c2489a;
  --series-5: #7a5fd0; --series-6: #8a8f96;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171a; --card: #1c2024; --ink: #e6e8ea; --muted: #98a1aa; --line: #30363c;
    --accent: #5b94f5; --second: #f0a643; --base: #6b747d; --good: #4cc38a; --bad: #f07167;
    --series-1: #5b94f5; --series-2: #f0a643; --series-3: #4fc39a; --series-4: #e279bd;
    --series-5: #a48df0; --series-6: #98a1aa;
  }
}
"""
STYLE = (
    COLORS
    + """\
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 58rem; margin: 0 auto; padding: 3rem 1.25rem 4rem; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .3rem; letter-spacing: -.02em; }
h2 { font-size: 1.25rem; margin: 3rem 0 .4rem; letter-spacing: -.01em; }
p { margin: .4rem 0 1rem; max-width: 44rem; }
.lead, .note { color: var(--muted); }
.note { font-size: .88rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 1rem 1.2rem; overflow-x: auto; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(7.9rem, 1fr)); gap: .8rem;
  margin: 1.6rem 0; }
.tile b { display: block; font-size: 1.6rem; font-weight: 650; line-height: 1.25;
  font-variant-numeric: tabular-nums; }
.tile span { color: var(--muted); font-size: .85rem; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: .8rem; }
.plot { width: 100%; height: auto; display: block; }
.plot text { font-family: inherit !important; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums;
  font-size: .92rem; }
th { text-align: left; color: var(--muted); font-weight: 500; font-size: .82rem; }
th, td { padding: .42rem .8rem .42rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
tr:last-child td { border-bottom: 0; }
td.n, th.n { text-align: right; }
.met, .missed { white-space: nowrap; font-weight: 600; }
.met { color: var(--good); }
.missed { color: var(--bad); }
.range { color: var(--muted); font-size: .82rem; }
.samples { display: grid; gap: .8rem; }
.sample h3 { font-size: .82rem; font-weight: 500; color: var(--muted); margin: 0 0 .3rem; }
.sample .prompt { white-space: pre-wrap; margin: 0 0 .8rem; max-width: none; }
.sample .text { white-space: pre-wrap; overflow-wrap: anywhere; margin: .8rem 0 0;
  padding: .7rem .9rem; background: var(--paper); border-left: 3px solid var(--accent);
  border-radius: 0 8px 8px 0; font: .88rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas,
  monospace; }
.mix { display: flex; height: 10px; border-radius: 5px; overflow: hidden;
  background: var(--line); }
.mix i { display: block; height: 100%; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; font-size: .82rem;
  color: var(--muted); margin-top: .4rem; }
.legend i { display: inline-block; width: .65rem; height: .65rem; border-radius: 3px;
  margin-right: .35rem; }
code { font: .88em ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
footer { margin-top: 3rem; color: var(--muted); font-size: .85rem; }
"""
)

TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>{{ style }}</style>
</head>
<body>
<main>
<h1>{{ title }}</h1>
<p class="lead">{{ lead }}</p>
<div class="tiles">
{%- for tile in tiles %}
<div class="card tile"><b>{{ tile.value }}</b><span>{{ tile.label }}</span></div>
{%- endfor %}
</div>
{%- if bars %}
<h2>Bars</h2>
<p>What this run had to reach, and what it reached.</p>
<div class="card"><table>
<tr><th>what</th><th class="n">bar</th><th class="n">figure</th><th class="n"></th></tr>
{%- for bar in bars %}
<tr><td>{{ bar.name }}</td><td class="n">{{ bar.bar }}</td>
<td class="n">{{ bar.figure | figure }}</td><td class="n">
{%- if bar.met %}<span class="met">✓ met</span>
{%- else %}<span class="missed">✗ missed</span>{% endif %}</td></tr>
{%- endfor %}
</table></div>
{%- endif %}
{%- if skills %}
<h2>Skills</h2>
<p>Scores on held-out examples, from 0 to 1. <b>base</b> is the frozen model alone,
<b>skill</b> the right adapter given by hand, <b>routed</b> whatever the gate chose.
The lines are 95 % bootstrap intervals.</p>
<div class="card">{{ plots.scores }}</div>
{%- endif %}
{%- if gate %}
<h2>Routing</h2>
<p>Each prompt goes to the skill that the gate thinks it needs; <b>base</b> is “none of these”.
A gate is calibrated when a confidence of 0.9 is right nine times out of ten.</p>
<div class="pair">
<div class="card">{{ plots.routing }}</div>
<div class="card">{{ plots.calibration }}</div>
</div>
<div class="tiles">
{%- for tile in gate_tiles %}
<div class="card tile"><b>{{ tile.value }}</b><span>{{ tile.label }}</span></div>
{%- endfor %}
</div>
{%- endif %}
{%- if routers %}
<div class="card"><table>
<tr><th>router</th><th class="n">accuracy</th><th class="n">AUROC, none of these</th>
<th class="n">composites: both on top</th></tr>
{%- for name, row in routers.items() %}
<tr><td>{{ name }}</td><td class="n">{{ row.accuracy | figure }}</td>
<td class="n">{{ row.none_auroc | figure }}</td><td class="n">{{ row.top_two | figure }}</td></tr>
{%- endfor %}
</table></div>
{%- endif %}
{%- if samples %}
<h2>Prompts, mixes, answers</h2>
<p>What the gate made of each prompt, and what that mix of adapters wrote.</p>
<div class="samples">
{%- for sample in samples %}
<div class="card sample">
{%- if sample.title %}<h3>{{ sample.title }}</h3>{% endif %}
<p class="prompt">{{ sample.prompt }}</p>
<div class="mix" role="img" aria-label="mix: {{ sample.recipe }}">
{%- for part in sample.parts %}
<i style="width:{{ part.percent }}%;background:var({{ part.color }})"></i>
{%- endfor %}
</div>
<div class="legend"><span>mix: <code>{{ sample.recipe }}</code></span>
{%- for part in sample.scores %}
<span><i style="background:var({{ part.color }})"></i>{{ part.name }} {{ part.score }}</span>
{%- endfor %}
</div>
{%- if sample.text is not none %}<div class="text">{{ sample.text or "(nothing)" }}</div>{% endif %}
</div>
{%- endfor %}
</div>
{%- endif %}
{%- if blends %}
<h2>Two skills at once</h2>
<p>Prompts that need two skills, each part of the answer scored by itself, and the mean of both.
A blend has to earn its place beside the single skills.</p>
<div class="card"><table>
<tr><th>prompts</th><th>mix</th>
<th class="n">first part</th><th class="n">second part</th><th class="n">mean</th></tr>
{%- for blend in blends %}{% for row in blend.rows %}
<tr><td>{{ blend.name if loop.first else "" }}</td><td>{{ row.mix }}</td>
{%- for score in row.parts %}<td class="n">{{ score | figure }}</td>{% endfor -%}
<td class="n">{{ row.mean | figure }}</td></tr>
{%- endfor %}{% endfor %}
</table></div>
{%- endif %}
{%- if training %}
<h2>Training</h2>
<p>Loss on the completions, step by step (smoothed), and on held-out examples (dots).
The base is frozen: its weights have the same hash before and after.</p>
<div class="card">{{ plots.losses }}</div>
<p class="note">{{ training_note }}</p>
{%- endif %}
{%- if phases %}
<h2>Time and memory</h2>
<div class="card">{{ plots.phases }}</div>
<p class="note">{{ resources }}</p>
{%- endif %}
<footer>{{ footer }}</footer>
</main>
</body>
</html>
"""
