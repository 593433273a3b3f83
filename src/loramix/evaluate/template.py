"""The report's HTML, which `report.py` fills; every figure says what to see in it."""

from __future__ import annotations

TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>{{ style }}</style>
</head>
<body>
{%- macro plot(svg, see, legend=()) %}
<figure class="card">
{%- if legend %}
<div class="legend">
{%- for name, color in legend %}<span><i style="background:var({{ color }})"></i>{{ name }}</span>
{%- endfor %}</div>
{%- endif %}
{{ svg }}
<figcaption><b>What to see:</b> {{ see }}</figcaption>
</figure>
{%- endmacro %}
{%- macro tile(one, first=false) %}
<div class="card tile{{ ' first' if first }}"><b>{{ one.value }}</b><span>{{ one.label }}</span>
</div>
{%- endmacro %}
<main>
<header>
<h1>{{ title }}</h1>
<p class="lead">{{ lead }}</p>
<div class="tiles">
{%- for one in tiles %}{{ tile(one, loop.first) }}{% endfor %}
</div>
<nav aria-label="parts of this page">
{%- for id, name in parts %}<a href="#{{ id }}">{{ name }}</a>{% endfor %}
</nav>
</header>
{%- if trained %}
<section id="trained">
<h2>What was trained</h2>
<p>A skill is a pair of thin matrices beside each layer of a base that stays frozen: its weights
have the same hash before and after.</p>
<div class="card"><table>
<tr><th>skill</th><th>what it does</th><th class="n">examples</th><th class="n">steps</th>
<th class="n">tokens</th><th class="n">first loss</th><th class="n">last loss</th></tr>
{%- for row in trained %}
<tr><td>{{ row.name }}</td><td>{{ row.what }}</td><td class="n">{{ row.examples }}</td>
<td class="n">{{ row.steps }}</td><td class="n">{{ row.tokens }}</td>
<td class="n">{{ row.first | figure }}</td><td class="n">{{ row.last | figure }}</td></tr>
{%- endfor %}
</table></div>
{{ plot(plots.losses, "curves that fall and stay down; thin is one step, thick is smoothed, and
the dots are held-out examples, which show memorising where they rise again.") }}
</section>
{%- endif %}
{%- if skills %}
<section id="skills">
<h2>Skills</h2>
<p>Scores on held-out examples, from 0 to 1. <b>base</b> is the frozen model alone, <b>skill</b>
the right adapter given by hand, <b>routed</b> whatever the gate chose. The lines are 95 %
bootstrap intervals.</p>
{{ plot(plots.scores, see.scores) }}
</section>
{%- endif %}
{%- if gate %}
<section id="routing">
<h2>Routing</h2>
<p>Each prompt goes to the skill that the gate thinks it needs; <b>base</b> is “none of these”.</p>
<div class="pair">
{{ plot(plots.routing, see.routing) }}
{{ plot(plots.calibration, "points near the dashed line: a confidence of 0.9 is right nine times
out of ten. A large point stands for many prompts.") }}
</div>
<div class="tiles">
{%- for one in gate_tiles %}{{ tile(one) }}{% endfor %}
</div>
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
</section>
{%- elif routers %}
<section id="routing">
<h2>Routing</h2>
<div class="card"><table>
<tr><th>router</th><th class="n">accuracy</th></tr>
{%- for name, row in routers.items() %}
<tr><td>{{ name }}</td><td class="n">{{ row.accuracy | figure }}</td></tr>
{%- endfor %}
</table></div>
</section>
{%- endif %}
{%- if samples %}
<section id="samples">
<h2>Prompts, mixes, answers</h2>
<p>What the gate made of each prompt, and what that mix of adapters wrote. The bar is the mix, a
colour for each skill; grey is the base alone.</p>
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
</section>
{%- endif %}
{%- if blends %}
<section id="blends">
<h2>Two skills at once</h2>
<p>Prompts that need two skills, each part of the answer scored by itself, and the mean of both. A
blend has to earn its place beside the single skills; the best mean of each kind is bold.</p>
<div class="card"><table>
<tr><th>prompts</th><th>answered by</th>
<th class="n">first part</th><th class="n">second part</th><th class="n">mean</th></tr>
{%- for blend in blends %}{% set top = blend.rows | map(attribute="mean") | max %}
{%- for row in blend.rows %}
<tr>
<td>{{ blend.name if loop.first else "" }}</td><td>{{ row.mix }}</td>
{%- for score in row.parts %}<td class="n">{{ score | figure }}</td>{% endfor -%}
<td class="n{{ ' best' if row.mean == top }}">{{ row.mean | figure }}</td></tr>
{%- endfor %}{% endfor %}
</table></div>
</section>
{%- endif %}
{%- if forgetting %}
<section id="forgetting">
<h2>Nothing forgotten</h2>
<p>The tasks are learned one after another, in two ways: as skills of a library, each in files of
its own, and by one adapter of the same shape that is trained on from task to task. After each
stage, every task so far is scored again.</p>
{{ plot(plots.forgetting, see.forgetting, legends.forgetting) }}
</section>
{%- endif %}
{%- if retention %}
<section id="retention">
<h2>All skills in one adapter</h2>
<p>The skills merged into a single expert of rank {{ retention.rank }}
(<code>{{ retention.method }}</code>), for places where only one adapter can be loaded.</p>
{{ plot(plots.retention, see.retention) }}
</section>
{%- endif %}
{%- if rooms %}
<section id="storage">
<h2>Storage and memory</h2>
<p>N skills as adapters beside one base, against N fine-tuned models: files that were written and
weighed, and the memory of fresh processes that loaded all of it and ran it once.</p>
{%- for room in rooms %}
{{ plot(room.svg, room.see, legends.storage) }}
<div class="card"><table>
<tr><th>{{ room.name }}</th>{% for head in room.heads %}<th class="n">{{ head }}</th>{% endfor %}
</tr>
{%- for row in room.rows %}
<tr><td>{{ row.name }}</td>
{%- for cell in row.cells %}<td class="n">{{ cell }}</td>{% endfor %}</tr>
{%- endfor %}
</table></div>
{%- endfor %}
</section>
{%- endif %}
{%- if phases %}
<section id="time">
<h2>Time and memory of this run</h2>
{{ plot(plots.phases, see.phases) }}
<p class="note">{{ resources }}</p>
</section>
{%- endif %}
{%- if bars %}
<section id="bars">
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
</section>
{%- endif %}
<footer>{{ footer }}</footer>
</main>
</body>
</html>
"""
