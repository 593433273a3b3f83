// What is drawn in several views: elements, colours of skills, bars of a mix, scores, credit.

/** An element. Strings become text nodes, never markup, so nothing that a model wrote can act. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child != null));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Tells a screen reader. */
export function say(text) { byId("say").textContent = text; }

const SERIES = 5; // colours that the style sheet names, the report's own
const order = new Map();

/** Fixes the colours: each skill keeps the one that it got first, the base is grey. */
export function nameSkills(names) {
  for (const name of names) if (!order.has(name)) order.set(name, order.size);
}

export function colour(name) {
  if (name === "base") return "var(--base)";
  nameSkills([name]);
  const place = order.get(name);
  if (place < SERIES) return `var(--series-${place + 1})`;
  return `hsl(${Math.round((place * 137.508 + 20) % 360)} 50% var(--series-light))`;
}

export function paint(element, name) {
  element.style.setProperty("--c", colour(name));
  return element;
}

export const dot = (name) => paint(h("i", { class: "dot", "aria-hidden": "true" }), name);

/** A weight or a score, as it is written. */
export const number = (value) => (Math.abs(value) > 0 && Math.abs(value) < 0.005
  ? "<0.01" : value.toFixed(2));

export function recipe(mix) {
  const parts = Object.entries(mix ?? {});
  if (!parts.length) return "base";
  return parts.map(([name, weight]) => `${name} ${number(weight)}`).join(", ");
}

const SHOWN = 8; // parts of a mix and scores with a line of their own
const LITTLE = 0.01;

/** A mix as one bar: what its weights leave below 1 stays the base's grey. */
export function mixBar(mix) {
  const parts = Object.entries(mix ?? {});
  const sum = Math.max(1, parts.reduce((total, [, weight]) => total + weight, 0));
  const bar = h("div", { class: "mixbar", role: "img", "aria-label": `Mix: ${recipe(mix)}` });
  for (const [name, weight] of parts) {
    const piece = paint(h("i", { title: `${name} ${number(weight)}` }), name);
    piece.style.width = `${(100 * weight) / sum}%`;
    bar.append(piece);
  }
  const legend = h("div", { class: "legend", "aria-hidden": "true" });
  for (const [name, weight] of parts.slice(0, SHOWN)) {
    legend.append(h("span", {}, dot(name), h("span", { title: name }, `${name} `),
      h("b", {}, number(weight))));
  }
  if (parts.length > SHOWN) legend.append(h("span", {}, `and ${parts.length - SHOWN} more`));
  if (!parts.length) legend.append(h("span", {}, dot("base"), "base alone"));
  return h("div", { class: "mix" }, bar, legend);
}


/** The gate's scores, the highest first: {skill: score}. Those that say nothing share a line. */
export function scoreBars(scores) {
  const sorted = Object.entries(scores).sort((a, b) => b[1] - a[1]);
  const told = sorted.filter(([, score], place) => place < 2 || score >= LITTLE).slice(0, SHOWN);
  const list = h("ul", { class: "scores" });
  for (const [name, score] of told) {
    const fill = paint(h("i"), name);
    fill.style.width = `${Math.max(0, Math.min(1, score)) * 100}%`;
    const label = name === "base" ? "none of these" : name;
    list.append(h("li", {}, h("span", { title: label }, label),
      h("span", { class: "track", "aria-hidden": "true" }, fill),
      h("span", { class: "n" }, number(score))));
  }
  const rest = sorted.slice(told.length);
  if (rest.length) {
    const names = rest.map(([name]) => (name === "base" ? "none of these" : name)).join(", ");
    const most = rest[0][1] < LITTLE ? "0.01" : rest[0][1].toFixed(2);
    list.append(h("li", { class: "more", title: names },
      `${rest.length} more, ${rest[0][1] < LITTLE ? "each below" : "none above"} ${most}`));
  }
  return list;
}

/** What `/v1/route` says with `why`: the words with their credit, and examples like the prompt. */
export function whyBox(why) {
  const box = h("div", { class: "why" });
  const told = why.attribution;
  if (told?.parts?.length) {
    const parts = told.parts.map(([text, credit]) => ({ text, credit }));
    const most = Math.max(...parts.map((part) => Math.abs(part.credit))) || 1;
    const words = h("p", { class: "words" });
    for (const { text, credit } of parts) {
      const level = Math.abs(credit) / most;
      const mark = paint(h("span", { title: `${credit >= 0 ? "+" : "−"}${number(Math.abs(credit))}` },
        text), told.skill ?? "base");
      if (level > 0.08) {
        mark.className = credit > 0 ? "for" : "against";
        mark.style.setProperty("--level", `${Math.round(level * 55)}%`);
      }
      words.append(mark);
    }
    const top = [...parts].filter((part) => part.credit > 0)
      .sort((a, b) => b.credit - a.credit).slice(0, 3)
      .map((part) => `“${part.text.trim()}” +${number(part.credit)}`);
    const whom = told.skill === "base" ? "none of the skills" : told.skill;
    box.append(h("h4", {}, whom ? `Words that spoke for ${whom}` : "Words that decided"), words);
    if (top.length) box.append(h("p", { class: "note" }, `Most: ${top.join(", ")}.`));
  }
  for (const [name, words] of Object.entries(why.words ?? {})) {
    box.append(h("p", { class: "note" }, `Words for ${name}: ${words.join(", ")}.`));
  }
  const nearest = told?.nearest ?? [];
  if (nearest.length) {
    const list = h("ul", { class: "nearest" });
    for (const [name, text] of nearest) list.append(h("li", {}, dot(name), h("span", {}, text)));
    box.append(h("h4", {}, "Examples like it"), list);
  }
  if (!box.childNodes.length) {
    box.append(h("p", { class: "note" }, "This router gives no reasons for this prompt."));
  }
  return box;
}

/** Writes an answer, in a monospaced face where it looks like code. */
export function writeText(element, text) {
  element.textContent = text;
  element.classList.toggle("code", /^(def|class|import|from|for|while|return)\b.*|^ {4}\S/m.test(text)
    && /[:()=]/.test(text));
}

export function seconds(value) {
  if (value == null) return null;
  return value < 1 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(1)} s`;
}

export async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // no clipboard outside https and localhost: the old way
    const area = h("textarea", { class: "unseen" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  const before = button.textContent;
  button.textContent = "Copied";
  say("Copied.");
  setTimeout(() => { button.textContent = before; }, 1200);
}
