// The comparison: one prompt, one card each for base, the gate's choices and every skill.

import { AnswerCard } from "./answer.js";
import { byId, dot, h, say } from "./draw.js";
import { panel } from "./panel.js";
import { onLibrary } from "./state.js";
import { go } from "./views.js";

const AT_ONCE = 4; // a browser opens six connections to a server; the rest of the page needs some
const PICKED = 5; // how many skills are picked at first
const TRIES = 3; // of one card, where the server is busy
const LONGEST = 15; // seconds that one waits for a busy server
let running = null;
let shown = []; // the cards of the last comparison

/** The ways to answer: [key, title, request] each. */
function ways(library) {
  const auto = (policy) => ({ ...panel.request(null), policy });
  return [
    ["base", "base", () => panel.request({})],
    ...(library.gate ? [
      ["auto:top1", "gate, top-1", () => auto("top1")],
      ["auto:blend", "gate, blend", () => auto("blend")],
    ] : []),
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
  const most = offered.length - library.skills.length + PICKED;
  byId("compare-picks").replaceChildren(...offered.map(([key, title], place) => {
    const first = key !== "hand" && place < most;
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
  const messages = [{ role: "user", content: prompt }];
  const cards = chosen.map(([, title, request]) => {
    const retry = () => { if (!running) fill([one]); };
    const one = { title, request: { ...request(), messages }, card: new AnswerCard({ title, retry }) };
    return one;
  });
  shown = cards;
  byId("compare-columns").replaceChildren(...cards.map(({ card }) => card.element));
  byId("compare-note").textContent = "";
  say(`Comparing ${cards.length} answers.`);
  await fill(cards);
}

/** Streams answers into cards, a few at once, until all are there or one stops it. */
async function fill(cards) {
  const own = new AbortController();
  running = own;
  buttons();
  const waiting = [...cards];
  const worker = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) await patiently(next, own.signal);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  if (running !== own) return;
  running = null;
  buttons();
  tellSame(shown);
  const there = cards.filter(({ card }) => card.end).length;
  say(there === cards.length ? `${there} answers are there.`
    : `${there} of ${cards.length} answers are there.`);
}

/** Asks again where the server was busy: several cards at once may be more than it allows. */
async function patiently({ card, request }, signal) {
  for (let left = TRIES; ; left -= 1) {
    await card.run(request, signal);
    const { status, wait } = card.fault ?? {};
    if (status !== 429 || left === 1 || !(wait <= LONGEST) || signal.aborted) return;
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, 1000 * wait);
      signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
    });
  }
}

/** Says under a title which earlier card has the same text, word for word. */
function tellSame(cards) {
  const first = new Map();
  for (const { title, card } of cards) {
    card.element.querySelector(".same")?.remove();
    if (!card.end) continue;
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
