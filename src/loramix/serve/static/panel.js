// The panel beside the chat: who chooses the mix, one slider a skill, and the settings.

import { json } from "./api.js";
import { byId, dot, h, number, paint, recipe, say } from "./draw.js";
import { keep, kept, library, noteGate, onLibrary } from "./state.js";

// skill → {input, output, weight}; the weight is exact, where the slider has steps
const sliders = new Map();
const NARROW = matchMedia("(max-width: 63.99rem)"); // there the panel is a sheet over the chat
const TYPING = 450; // ms without a key before the gate is asked
const SETTLE = 300; // ms without a move before a new mix is answered
let changed = () => {}; // called when the mix was moved and then stayed as it is
let asMessages = (prompt) => [{ role: "user", content: prompt }];
let settling = 0;

export const panel = {
  get byHand() { return document.querySelector("input[name=mode]:checked").value === "hand"; },
  get live() { return byId("live").checked; },
  get remember() { return byId("remember").checked; },
  get policy() { return byId("policy").value || undefined; },

  /** The weights of the sliders, without the zeros. */
  mix() {
    const mix = {};
    for (const [name, { weight }] of sliders) if (weight) mix[name] = weight;
    return mix;
  },

  /** What goes into a request: `mix` is an object of weights, or null for the gate's choice. */
  request(mix) {
    const settings = { temperature: within("temperature"), max_tokens: within("max-tokens") };
    if (mix === null) return { model: "auto", policy: this.policy, ...settings };
    if (!Object.keys(mix).length) return { model: "base", ...settings };
    return { model: "auto", mix, ...settings };
  },

  /** Moves the sliders without asking for an answer. */
  show(mix) {
    for (const name of sliders.keys()) weigh(name, mix[name] ?? 0);
    tellMode();
  },

  /** Takes this mix into the hand. */
  take(mix) {
    setMode("hand");
    this.show(mix);
  },

  /** Leaves the mix to the gate, or where there is none, takes this one. */
  auto(mix) {
    if (library.gate) setMode("auto");
    else this.take(mix);
  },

  onChange(handler) { changed = handler; },

  /** `handler` makes of a prompt the messages that would be sent with it now. */
  onPreview(handler) { asMessages = handler; },

  /** Shows "answer again" once there is something to answer again. */
  offerAgain(prompt) {
    byId("again-box").hidden = !prompt;
    byId("again").title = prompt ?? "";
  },

  open() {
    if (NARROW.matches) sheet(true);
    const first = sliders.values().next().value?.input;
    (first ?? byId("close-panel")).focus();
  },

  /** Closes the sheet of narrow screens; true if it was open. */
  close() {
    if (!byId("panel").classList.contains("open")) return false;
    sheet(false);
    byId("open-panel").focus();
    return true;
  },
};

/** Lays the panel over the chat, which then takes neither clicks nor keys. */
function sheet(open) {
  byId("panel").classList.toggle("open", open);
  for (const [name, value] of [["role", "dialog"], ["aria-modal", "true"]]) {
    if (open) byId("panel").setAttribute(name, value);
    else byId("panel").removeAttribute(name);
  }
  byId("scrim").hidden = !open;
  for (const behind of document.querySelectorAll(".top, .talk")) behind.inert = open;
}

/** The mix was moved: one call for however many moves follow each other quickly. */
function moved() {
  clearTimeout(settling);
  settling = setTimeout(() => changed(), SETTLE);
}

/** A number field's value, brought into its bounds and shown so. */
function within(id) {
  const field = byId(id);
  const value = Number.isFinite(field.valueAsNumber) ? field.valueAsNumber : Number(field.defaultValue);
  const bounded = Math.min(Number(field.max), Math.max(Number(field.min), value));
  field.value = bounded;
  return bounded;
}

function setMode(mode) {
  document.querySelector(`input[name=mode][value=${mode}]`).checked = true;
  tellMode();
}

function tellMode() {
  const hand = panel.byHand;
  const mix = panel.mix();
  byId("panel").classList.toggle("auto", !hand);
  const own = "These weights write the next answers. 0 everywhere is the base alone.";
  byId("mode-note").textContent = hand
    ? `${library.gate ? "" : "Auto needs a gate, and this library has none. "}${own}`
    : "The gate chooses for each prompt. Move a slider to choose yourself.";
  byId("open-panel-text").textContent = hand ? `Mix: ${recipe(mix)}` : "Mix: auto";
  const dots = byId("open-panel").querySelector(".dots");
  const names = hand ? Object.keys(mix) : [...sliders.keys()];
  dots.replaceChildren(...(names.length ? names : ["base"]).slice(0, 5).map(dot));
}

/** Gives a skill its weight; without one, what its slider says. */
function weigh(name, weight) {
  const slider = sliders.get(name);
  const { input, output } = slider;
  if (weight !== undefined) input.value = weight;
  slider.weight = weight ?? Number(input.value);
  output.textContent = number(slider.weight);
  input.style.setProperty("--fill", `${(100 * input.value) / input.max}%`);
}

function build() {
  const before = panel.mix();
  sliders.clear();
  byId("sliders").replaceChildren(...library.skills.map(({ name }) => {
    const output = h("output", { for: `mix-${name}` });
    const input = paint(h("input", {
      type: "range", id: `mix-${name}`, min: 0, max: 1, step: 0.01,
      oninput: () => { weigh(name); setMode("hand"); moved(); },
    }), name);
    sliders.set(name, { input, output });
    weigh(name, before[name] ?? 0);
    return h("div", { class: "slider" },
      h("label", { for: `mix-${name}` }, dot(name), h("span", { title: name }, name)), input, output);
  }));
  if (!sliders.size) {
    byId("sliders").append(h("p", { class: "note" }, "This library holds no skills yet."));
  }
  const saved = Object.entries(library.mixes);
  byId("saved-field").hidden = !saved.length;
  byId("saved").replaceChildren(h("option", { value: "" }, "choose…"),
    ...saved.map(([name]) => h("option", { value: name }, name)));
  document.querySelector("input[name=mode][value=auto]").disabled = !library.gate;
  if (library.gate) tellMode();
  else setMode("hand");
  bound(library.limits.max_tokens);
}

/** No more tokens can be asked for than the server writes. */
function bound(most) {
  const field = byId("max-tokens");
  field.max = most;
  if (field.valueAsNumber > most) field.value = most;
  byId("most-tokens").textContent = `at most ${most}`;
}

function preset(kind) {
  const names = [...sliders.keys()];
  const mix = panel.mix();
  const sum = Object.values(mix).reduce((total, weight) => total + weight, 0);
  const even = 1 / Math.max(1, names.length);
  const made = {
    base: () => ({}),
    even: () => Object.fromEntries(names.map((name) => [name, even])),
    one: () => Object.fromEntries(Object.entries(mix).map(([name, weight]) => [name, weight / sum])),
  };
  panel.take(made[kind]());
  moved();
}

/** While one types, shows on the sliders what the gate would choose. */
function previewing() {
  let timer = 0;
  let asked = null;
  byId("prompt").addEventListener("input", () => {
    clearTimeout(timer);
    asked?.abort();
    const prompt = byId("prompt").value.trim();
    if (!prompt || panel.byHand || !byId("preview").checked) return;
    timer = setTimeout(async () => {
      asked = new AbortController();
      try {
        const wish = { messages: asMessages(prompt), policy: panel.policy };
        const routed = await json("v1/route", { json: wish, signal: asked.signal });
        if (!panel.byHand) panel.show(routed.mix);
      } catch (fault) { // a preview may fail in silence; sending will tell
        noteGate(fault);
      }
    }, TYPING);
  });
}

export function startPanel() {
  onLibrary(build);
  const settings = kept();
  for (const id of ["temperature", "max-tokens", "policy"]) {
    if (settings[id] != null) byId(id).value = settings[id];
    byId(id).addEventListener("change", () => keep({ [id]: byId(id).value }));
  }
  for (const id of ["remember", "preview", "live"]) {
    if (settings[id] != null) byId(id).checked = settings[id];
    byId(id).addEventListener("change", () => keep({ [id]: byId(id).checked }));
  }
  for (const radio of document.querySelectorAll("input[name=mode]")) {
    radio.addEventListener("change", () => {
      tellMode();
      say(byId("mode-note").textContent);
    });
  }
  for (const button of byId("presets").children) {
    button.addEventListener("click", () => preset(button.dataset.preset));
  }
  byId("saved").addEventListener("change", () => {
    const mix = library.mixes[byId("saved").value];
    if (!mix) return;
    panel.take(mix.weights ?? mix);
    moved();
  });
  byId("open-panel").addEventListener("click", () => panel.open());
  byId("close-panel").addEventListener("click", () => panel.close());
  byId("scrim").addEventListener("click", () => panel.close());
  NARROW.addEventListener("change", () => sheet(false));
  previewing();
}
