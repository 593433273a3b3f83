// The chat: prompts, answers that stream, and the same prompt answered again with another mix.

import { AnswerCard, announce } from "./answer.js";
import { byId, dot, h, say } from "./draw.js";
import { panel } from "./panel.js";
import { library, onLibrary } from "./state.js";
import { onView } from "./views.js";

const turns = []; // {prompt, element, cards}
let running = null; // the AbortController of the answer that streams now
let target = null; // the turn whose mix was taken into the hand; else the last one is meant
let following = true; // whether the reader is at the end of the chat
let compare = () => {};

/** Asks; the answer comes below. `mix` is an object of weights, or null for the gate's choice. */
export async function ask(prompt, mix = panel.byHand ? panel.mix() : null) {
  if (!prompt.trim()) return;
  if (running) { // the next one may be written while this one is answered
    byId("prompt").value = prompt;
    fit();
    return;
  }
  byId("hello").hidden = true;
  const element = h("article", { class: "turn" },
    h("div", { class: "ask" }, h("h2", { class: "unseen" }, "You"), h("p", {}, prompt)));
  const turn = { prompt, element, cards: [] };
  turns.push(turn);
  byId("turns").append(element);
  panel.offerAgain(prompt);
  await answer(turn, mix);
}

/** Asks an example of a skill: what the gate makes of it is what one wants to see. */
export function askExample(prompt, skill) {
  panel.auto({ [skill]: 1 });
  ask(prompt);
}

/** One more answer to a turn; with `over`, in the place of an answer that is there. */
async function answer(turn, mix, over = null) {
  const card = over ?? new AnswerCard({
    actions: [
      { label: "Change mix", act: (own) => change(turn, own) },
      { label: "Compare", act: () => compare(turn.prompt) },
    ],
    retry: (own) => {
      if (running) return;
      answer(turn, mix === null && !library.gate ? panel.mix() : mix, own);
    },
  });
  if (!over) {
    turn.cards.push(card);
    turn.element.append(card.element);
  }
  card.byHand = mix !== null;
  card.leftOut = false;
  const own = new AbortController();
  running = own;
  buttons();
  say("Answering.");
  const follow = setInterval(toEnd, 100);
  following = true;
  toEnd();
  const request = panel.request(mix);
  let before = earlier(turn);
  let whole = false;
  for (;;) {
    whole = await card.run({ ...request, messages: messages(before, turn.prompt) }, own.signal);
    if (running !== own || !before.length || !card.filledContext(request.max_tokens)) break;
    before = before.slice(Math.ceil(before.length / 2)); // the newest are kept
    card.leftOut = true;
  }
  clearInterval(follow);
  toEnd();
  if (running !== own) return;
  running = null;
  buttons();
  if (!whole) return;
  announce(card);
  if (!panel.byHand && card.routing) panel.show(card.routing.mix);
}

/** The answered turns before this one, or all of them; none where the settings say so. */
function earlier(turn = null) {
  if (!panel.remember) return [];
  const before = turn ? turns.slice(0, turns.indexOf(turn)) : turns;
  return before.filter((one) => one.cards.at(-1)?.text);
}

/** Turns and a prompt after them, as the server takes them. */
function messages(before, prompt) {
  return [...before.flatMap((one) => [
    { role: "user", content: one.prompt },
    { role: "assistant", content: one.cards.at(-1).text },
  ]), { role: "user", content: prompt }];
}

/** Hands an answer's mix to the sliders; the next "answer again" is about its prompt. */
function change(turn, card) {
  panel.take(card.routing?.mix ?? {});
  target = turn;
  panel.offerAgain(turn.prompt);
  panel.open();
}

function again(live = false) {
  const turn = target ?? turns.at(-1);
  if (!turn) return;
  const mix = panel.byHand ? panel.mix() : null;
  const last = turn.cards.at(-1);
  const over = live && last?.byHand && turn.cards.length > 1 ? last : null;
  if (running) {
    running.abort();
    running = null;
  }
  answer(turn, mix, over);
  if (!live) panel.close();
}

export function stop() {
  if (!running) return false;
  running.abort();
  return true;
}

function buttons() {
  byId("send").hidden = Boolean(running);
  byId("stop").hidden = !running;
  byId("clear").disabled = Boolean(running) || !turns.length;
  byId("again").disabled = Boolean(running);
  byId("prompt").placeholder = placeholder();
  fit(); // it may take two lines
}

function placeholder() {
  if (!turns.length) return "Ask something…";
  return panel.remember ? "Go on: the earlier turns are sent along…"
    : "Ask something else: each prompt stands alone…";
}

function clear() {
  turns.length = 0;
  target = null;
  for (const turn of document.querySelectorAll(".turn")) turn.remove();
  byId("hello").hidden = false;
  panel.offerAgain(null);
  buttons();
  byId("prompt").focus();
  say("Cleared.");
}

/** Follows the text as it grows, unless the reader has scrolled up. */
function toEnd() {
  if (following) byId("turns").scrollTop = byId("turns").scrollHeight;
}

function fit() {
  const field = byId("prompt");
  field.style.height = "auto";
  field.style.height = `${Math.min(field.scrollHeight + 2, 200)}px`;
}

function starters({ skills, gate }) {
  byId("hello-auto").hidden = !gate;
  byId("hello-hand").hidden = gate;
  const short = (examples) => [...examples].filter((text) => text.length < 200)
    .sort((a, b) => Math.abs(a.length - 60) - Math.abs(b.length - 60))[0];
  const offers = skills.map(({ name, examples }) => [name, short(examples ?? [])])
    .filter(([, text]) => text).slice(0, 6);
  byId("starters").replaceChildren(...offers.map(([name, text]) => h("button",
    { type: "button", class: "starter", onclick: () => askExample(text, name) },
    h("span", { class: "tag" }, dot(name), name), h("span", {}, text))));
}

export function startChat({ onCompare }) {
  compare = onCompare;
  onLibrary(starters);
  const field = byId("prompt");
  byId("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    const prompt = field.value;
    if (!prompt.trim() || running) return;
    field.value = "";
    target = null;
    fit();
    ask(prompt);
  });
  const box = byId("turns");
  box.addEventListener("scroll", () => {
    following = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  });
  addEventListener("resize", fit);
  onView("chat", () => {
    fit(); // what is hidden has no height
    toEnd();
    if (matchMedia("(pointer: fine)").matches) field.focus(); // no keyboard pops up on a phone
  });
  field.addEventListener("input", fit);
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      byId("composer").requestSubmit();
    }
  });
  byId("stop").addEventListener("click", () => { stop(); field.focus(); });
  byId("clear").addEventListener("click", clear);
  byId("again").addEventListener("click", () => again());
  byId("remember").addEventListener("change", buttons);
  panel.onChange(() => { if (panel.live && panel.byHand && turns.length) again(true); });
  panel.onPreview((prompt) => messages(earlier(), prompt));
  buttons();
}
