// The comparison: one prompt, one card each for base, the gate's choices and every skill.

import { AnswerCard } from "./answer.js";
import { byId, dot, h, say } from "./draw.js";
import { panel } from "./panel.js";
import { onLibrary } from "./state.js";
import { go } from "./views.js";

const AT_ONCE = 4; // a browser opens six connections to a server; the rest of the page needs some
const PICKED = 5; // how many skills are picked at first
let running = null;

/** The ways to answer: [key, title, request] each. */
function ways(library) {
  const auto = (policy) => ({ ...panel.request(null), policy });
  return [
    ["base", "base", () => panel.request({})],
    ["auto:top1", "gate, top-1", () => auto("top1")],
    ["auto:blend", "gate, blend", () => auto("blend")],
    ["hand", "by hand", () => panel.request(panel.mix())],
    ...library.skills.map(({ name }) => [name, name, () => panel.request({ [name]: 1 })]),
  ];
}

let offered = [];

function build(library) {
  offered = ways(library);
  const before = new Set([...document.querySelectorAll("#compare-picks input")]
    .filter((box) => box.checked).map((box) => box.value));
  const known = before.size > 0;
  byId("compare-picks").replaceChildren(...offered.map(([key, title], place) => {
    const first = key !== "hand" && place < 4 + PICKED;
    const box = h("input", { type: "checkbox", value: key, checked: known ? before.has(key) : first });
    const special = key.startsWith("auto") || key === "hand";
    return h("label", { class: "pick" }, box, h("span", {}, special ? null : dot(key), title));
  }));
}

async function run(prompt) {
  const picked = new Set([...document.querySelectorAll("#compare-picks input:checked")]
    .map((box) => box.value));
  const chosen = offered.filter(([key]) => picked.has(key));
  if (!prompt.trim() || !chosen.length) {
    byId("compare-note").textContent = prompt.trim() ? "Choose at least one." : "Write a prompt first.";
    return;
  }
  running?.abort();
  const own = new AbortController();
  running = own;
  buttons();
  const cards = chosen.map(([, title, request]) => ({ title, request, card: new AnswerCard({ title }) }));
  byId("compare-columns").replaceChildren(...cards.map(({ card }) => card.element));
  byId("compare-note").textContent = "";
  say(`Comparing ${cards.length} answers.`);
  const waiting = [...cards];
  const messages = [{ role: "user", content: prompt }];
  const worker = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      await next.card.run({ ...next.request(), messages }, prompt, own.signal);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  if (running !== own) return;
  running = null;
  buttons();
  tellSame(cards);
  say(`${cards.length} answers are there.`);
}

/** Says under a title which earlier card has the same text, word for word. */
function tellSame(cards) {
  const first = new Map();
  for (const { title, card } of cards) {
    const text = card.text.trim();
    if (!text) continue;
    if (first.has(text)) {
      card.element.querySelector("h3").append(h("span", { class: "same" }, `same as ${first.get(text)}`));
    } else first.set(text, title);
  }
}

export function stopComparing() {
  if (!running) return false;
  running.abort();
  return true;
}

function buttons() {
  byId("compare-run").hidden = Boolean(running);
  byId("compare-stop").hidden = !running;
}

/** Shows the view with this prompt and runs it. */
export function comparePrompt(prompt) {
  byId("compare-prompt").value = prompt;
  go("compare");
  run(prompt);
}

export function startCompare() {
  onLibrary(build);
  byId("compare-form").addEventListener("submit", (event) => {
    event.preventDefault();
    run(byId("compare-prompt").value);
  });
  byId("compare-prompt").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      byId("compare-form").requestSubmit();
    }
  });
  byId("compare-stop").addEventListener("click", stopComparing);
}
