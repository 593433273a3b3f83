"""The page that the report fills: one HTML file, no scripts, nothing from the network."""

from __future__ import annotations

MACROS = """
{%- macro bars(groups, form="") %}
{%- for group in groups %}
<div class="group {{ form }}">
{%- if group.name %}<b>{{ group.name }}
{%- if group.note %}<small>{{ group.note }}</small>{% endif %}</b>
{%- endif %}
<div>
{%- for row in group.rows %}
<div class="row"><span>{{ row.label }}</span>
<div class="track"><i style="width:{{ row.width }}%;background:var({{ row.color }})"></i>
{%- if row.whisker %}
<u style="left:{{ row.whisker[0] }}%;width:{{ row.whisker[1] }}%"></u>{% endif %}
{%- if row.goal %}<s style="left:{{ row.goal }}%"></s>{% endif %}</div>
<em>{{ row.value }}{% if row.range %}<small>{{ row.range }}</small>{% endif %}</em></div>
{%- endfor %}
</div></div>
{%- endfor %}
{%- endmacro %}

{%- macro key(entries, whisker=false, goal=none) %}
<div class="legend">
{%- for name, color in entries %}
<span><i style="background:var({{ color }})"></i>{{ name }}</span>
{%- endfor %}
{%- if whisker %}<span><i class="whisker"></i>95 % interval</span>{% endif %}
{%- if goal %}<span><i class="goal"></i>bar: {{ goal }}</span>{% endif %}
</div>
{%- endmacro %}

{%- macro differences_of(groups) %}
{%- for group in groups %}
<div class="group diff">
<b>{{ group.name }}{% if group.note %}<small>{{ group.note }}</small>{% endif %}</b>
<div>
{%- for row in group.rows %}
<div class="row"><span>{{ row.label }}</span>
<div class="track"><s style="left:50%"></s>
<i style="left:{{ row.left }}%;width:{{ row.width }}%;
background:var({{ "--accent" if row.clear else "--base" }})"></i>
<u style="left:{{ row.whisker[0] }}%;width:{{ row.whisker[1] }}%"></u></div>
<em>{{ row.value }}<small>{{ row.range }}</small></em></div>
{%- endfor %}
</div></div>
{%- endfor %}
{%- endmacro %}

{%- macro heat(map) %}
<div class="scroll" tabindex="0" role="group" aria-label="{{ map.caption }}"><table class="heat">
<caption>{{ map.caption }}</caption>
<thead><tr><td style="background:none"></td>
{%- for name in map.columns %}<th scope="col"><span>{{ name }}</span></th>{% endfor %}</tr></thead>
<tbody>
{%- for row in map.rows %}
<tr><th scope="row">{{ row.name }}</th>
{%- for cell in row.cells %}<td style="--share:{{ cell.share }}"
{%- if cell.own %} class="own"{% endif %}>{{ cell.text }}
{%- if cell.within %}<small>{{ cell.within }}</small>{% endif %}</td>{% endfor %}</tr>
{%- endfor %}
</tbody></table></div>
{%- endmacro %}

{%- macro tiles(entries) %}
<div class="tiles">
{%- for tile in entries %}
<div class="tile"><b>{{ tile.value }}</b><span>{{ tile.label }}</span></div>
{%- endfor %}
</div>
{%- endmacro %}
"""

TEMPLATE = (
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{{ title }}</title>
<style>{{ style }}</style>
</head>
<body>
"""
    + MACROS
    + """
<main class="sheet">
<header>
<h1>{{ title }}</h1>
<p class="lead">{{ lead }}</p>
{%- if tiles_shown %}{{ tiles(tiles_shown) }}{% endif %}
{%- if summary %}
<ul class="summary">{% for line in summary %}<li>{{ line }}</li>{% endfor %}</ul>
{%- endif %}
</header>
{%- if contents | length > 1 %}
<nav aria-label="Contents"><ol>
{%- for anchor, name in contents %}<li><a href="#{{ anchor }}">{{ name }}</a></li>{% endfor -%}
</ol></nav>
{%- endif %}
{%- if training %}
<section id="training"><h2>Training</h2>
<p class="about">What was trained
{%- if plots.losses is defined %}, and how its loss fell: on the completions step by step
(smoothed), and on held-out examples (dots){% endif %}. The base is frozen: only the adapters
learn.</p>
<figure{% if plots.losses is not defined %} class="long"{% endif %}>
<figcaption>{{ see.training }}</figcaption>
{%- if plots.losses is defined %}
<div class="card"><div class="small plots">
{%- for svg in plots.losses %}<div>{{ svg }}</div>{% endfor %}</div></div></figure>
<figure class="long">
{%- endif %}
<div class="card long scroll"><table>
<thead><tr><th>skill</th><th>learned from</th><th class="n">steps</th><th class="n">tokens</th>
{%- if training_losses %}<th class="n">last loss</th><th class="n">held-out loss</th>{% endif %}
</tr></thead>
<tbody>
{%- for row in training_rows %}
<tr><td>{{ row.name }}{% if row.what %}<small class="sub">{{ row.what }}</small>{% endif %}</td>
<td>{{ row.data or "–" }}{% if row.lora %}<small class="sub">{{ row.lora }}</small>{% endif %}</td>
<td class="n">{{ row.steps }}</td><td class="n">{{ row.tokens }}</td>
{%- if training_losses %}
<td class="n">{{ row.last }}</td><td class="n">{{ row.dev }}</td>{% endif %}</tr>
{%- endfor %}
</tbody></table></div></figure>
</section>
{%- endif %}
{%- if scores %}
<section id="skills"><h2>Skills</h2>
<p class="about">Scores on held-out examples. <b>base</b> is the frozen model alone, <b>skill</b>
the right adapter given by hand, <b>routed</b> whatever the gate chose. The thin line is the 95 %
interval: Wilson's where an answer is right or wrong, which has a width even at 0 and 1; otherwise
a bootstrap over the examples.</p>
<figure class="long"><figcaption>{{ see.skills }}</figcaption>
<div class="card long">{{ key(systems, true, goal) }}{{ bars(scores) }}</div></figure>
{%- if see.low %}<p class="note">{{ see.low }}</p>{% endif %}
</section>
{%- endif %}
{%- if matrix %}
<section id="matrix"><h2>Every system on every task</h2>
<p class="about">One row a task, one column a system; a skill's own task is in bold.</p>
<figure><figcaption>{{ see.matrix }}</figcaption>
<div class="card">{{ heat(matrix) }}</div></figure>
</section>
{%- endif %}
{%- if differences %}
<section id="differences"><h2>Differences</h2>
<p class="about">What one system scores above another on the very same examples, with the 95 %
bootstrap interval of the paired difference. Right of the dashed line is above. Grey ones may be
chance: their interval holds nought.</p>
<figure class="long"><figcaption>{{ see.differences }}</figcaption>
<div class="card long">{{ key([("clear", "--accent"), ("may be chance", "--base")], true) }}
{{ differences_of(differences) }}</div></figure>
</section>
{%- endif %}
{%- if confusion %}
<section id="routing"><h2>Routing</h2>
<p class="about">Each prompt goes to the skill that the gate thinks it needs; <b>base</b> is
“none of these”. A gate is calibrated when a confidence of 0.9 is right nine times in ten.</p>
<div class="pair">
<figure><figcaption>{{ see.routing }}</figcaption>
<div class="card">{{ heat(confusion) }}</div></figure>
<figure><figcaption>{{ see.calibration }}</figcaption>
<div class="card plots">{{ plots.calibration }}</div></figure>
</div>
{%- if heat_of_scores %}
<figure><figcaption>{{ see.heat }}</figcaption>
<div class="card">{{ heat(heat_of_scores) }}</div></figure>
{%- endif %}
{%- if gate_tiles %}{{ tiles(gate_tiles) }}{% endif %}
</section>
{%- endif %}
{%- if routers %}
<section id="routers"><h2>Routers</h2>
<figure><figcaption>{{ see.routers }}</figcaption>
<div class="card scroll"><table>
<thead><tr><th>router</th><th class="n">accuracy (95 % interval)</th>
<th class="n">AUROC, none of these</th>
<th class="n">both skills on top</th></tr></thead>
<tbody>
{%- for name, row in routers.items() %}
<tr><td>{{ name }}</td><td class="n">{{ row.accuracy | figure }}
{%- if row.low is defined %} <small>({{ row.low | figure }} to {{ row.high | figure }})</small>
{%- endif %}</td>
<td class="n">{{ row.none_auroc | figure }}</td><td class="n">{{ row.top_two | figure }}</td></tr>
{%- endfor %}
</tbody></table></div></figure>
</section>
{%- endif %}
{%- if samples %}
<section id="prompts"><h2>Prompts, mixes, answers</h2>
<p class="about">What the gate made of each prompt, and what that mix of adapters wrote. The bar
is the mix; the figures below it are the gate's scores.</p>
<figure class="long"><figcaption>{{ see.samples }}</figcaption>
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
<div class="legend"><span>mix: <code>{{ sample.recipe }}</code></span></div>
<div class="legend">
{%- if sample.scores %}<span>gate:</span>{% endif %}
{%- for part in sample.scores %}
<span><i style="background:var({{ part.color }})"></i>{{ part.name }} {{ part.score }}</span>
{%- endfor %}
</div>
{%- if sample.text is not none %}<div class="text">{{ sample.text or "(nothing)" }}</div>{% endif %}
{%- if sample.expected %}
<div class="legend"><span>expected:</span></div><div class="text">{{ sample.expected }}</div>
{%- endif %}
</div>
{%- endfor %}
</div></figure>
</section>
{%- endif %}
{%- if blends or composites %}
<section id="blends"><h2>Two skills at once</h2>
<p class="about">Requests that need two skills. A blend has to earn its place beside the single
skills.</p>
{%- if composites %}
<figure class="long"><figcaption>{{ see.composites }}</figcaption>
<div class="card long"><h3>Both parts of the answer right, share of the requests</h3>
{{ key([], true) }}{{ bars(composites) }}</div></figure>
<p class="note">{{ ways }}</p>
{%- endif %}
{%- if blends %}
<figure class="long"><figcaption>{{ see.blends }}</figcaption>
<div class="card long"><h3>Mean score of the two parts; each part by itself beside it</h3>
{{ key([], blends_within) }}{{ bars(blends, "wide") }}</div></figure>
{%- endif %}
</section>
{%- endif %}
{%- if forgetting %}
<section id="forgetting"><h2>Nothing forgotten</h2>
<p class="about">The tasks are learned one after another, and each task learned so far is scored
after each: once with loramix, where every skill is an adapter of its own, and once in the usual
way, where one adapter goes on from task to task. {{ forgetting.n }}</p>
<figure><figcaption>{{ see.forgetting }}</figcaption>
<div class="card">
<div class="pair plots">
<div><h3>loramix: one adapter a skill</h3>{{ plots.forgetting[0] }}</div>
<div><h3>one adapter for all tasks</h3>{{ plots.forgetting[1] }}</div>
</div>
{{ key(forgetting.key) }}
</div></figure>
</section>
{%- endif %}
{%- if retention %}
<section id="retention"><h2>After merging</h2>
<p class="about">Several skills merged into one adapter: each skill's score by itself before, and
with the merged one after.</p>
{%- for merge in retention %}
<figure class="long"><figcaption>{{ merge.see }}</figcaption>
<div class="card long">{% if merge.how %}<h3>{{ merge.how }}</h3>{% endif %}
{{ key([("before", "--base"), ("after", "--accent")], merge.within) }}
{{ bars(merge.groups) }}</div></figure>
{%- endfor %}
</section>
{%- endif %}
{%- if storage %}
<section id="storage"><h2>Storage and memory</h2>
<p class="about">One base with N adapters beside N full models: files that were written and
weighed, and processes that loaded them. Solid lines are measured, dashed ones go on from there
in a straight line; both axes are logarithmic.</p>
{%- for shape in storage %}
<figure><figcaption>{{ shape.see }}</figcaption>
<div class="card"><h3>{{ shape.name }}</h3>
<div class="pair plots">
{%- for svg in shape.plots %}<div>{{ svg }}</div>{% endfor %}
</div></div></figure>
{%- endfor %}
</section>
{%- endif %}
{%- if failures is not none %}
<section id="failures"><h2>Failures</h2>
<p class="about">Rows that could not be read, answered or judged, and why. One that was not
answered or judged counts as wrong; the evaluation goes on.</p>
<figure class="long"><figcaption>{{ see.failures }}</figcaption>
{%- if failures.rows %}
<div class="card long scroll"><table>
<thead><tr><th>task</th><th>reason</th><th>rows</th></tr></thead>
<tbody>
{%- for row in failures.rows %}
<tr><td>{{ row.task }}</td><td>{{ row.reason }}</td><td>{{ row.rows }}</td></tr>
{%- endfor %}
</tbody></table></div>
{%- endif %}</figure>
</section>
{%- endif %}
{%- if phases %}
<section id="time"><h2>Time and memory</h2>
<figure><figcaption>{{ see.time }}</figcaption>
<div class="card">{{ bars(phases, "flat") }}</div></figure>
<p class="note">{{ resources }}</p>
</section>
{%- endif %}
{%- if bar_rows %}
<section id="bars"><h2>Bars</h2>
<p class="about">What this run had to reach, and what it reached.</p>
<figure class="long"><figcaption>{{ see.bars }}</figcaption>
<div class="card long scroll"><table>
<thead><tr><th>what</th><th class="n">bar</th><th class="n">figure</th>
<td class="n"></td></tr></thead>
<tbody>
{%- for bar in bar_rows %}
<tr><td>{{ bar.name }}</td><td class="n">{{ bar.bar }}</td>
<td class="n">{{ bar.figure | figure }}</td><td class="n">
{%- if bar.met %}<span class="met">✓ met</span>
{%- else %}<span class="missed">✗ missed</span>{% endif %}</td></tr>
{%- endfor %}
</tbody></table></div></figure>
</section>
{%- endif %}
{%- if not_measured %}
<section id="missing"><h2>Not measured</h2>
<p class="about">What this page could show too, and what brings it.</p>
<figure class="long"><figcaption>{{ not_measured | map(attribute="what") | join("; ") }}.
</figcaption>
<div class="card long"><table>
<tbody>
{%- for row in not_measured %}
<tr><td>{{ row.what }}</td><td>{{ row.how }}</td></tr>
{%- endfor %}
</tbody></table></div></figure>
</section>
{%- endif %}
<footer>{{ footer }}</footer>
</main>
</body>
</html>
"""
)
