// The skills with their cards, the saved mixes, and the door for one more adapter.

import { send } from "./api.js";
import { askExample } from "./chat.js";
import { byId, colour, dot, h, mixBar, number, paint, say } from "./draw.js";
import { panel } from "./panel.js";
import { library, onLibrary, readLibrary } from "./state.js";
import { go } from "./views.js";

const SCORES = [["base", "base"], ["skill", "skill"], ["routed", "routed"]];

function toChat(prompt) {
  go("chat");
  askExample(prompt);
}

function big(value) {
  if (value == null) return null;
  return value >= 1e6 ? `${(value / 1e6).toFixed(1)}M` : `${Math.round(value / 1e3)}k`;
}

function scoreTable(name, scores) {
  const rows = SCORES.filter(([kind]) => typeof scores?.[kind] === "number");
  if (!rows.length) return null;
  return h("div", {}, h("h3", {}, "Scores on held-out examples"),
    h("ul", { class: "scores" }, rows.map(([kind, label]) => {
      const fill = h("i");
      fill.style.setProperty("--c", kind === "base" ? colour("base") : colour(name));
      fill.style.width = `${Math.max(0, Math.min(1, scores[kind])) * 100}%`;
      return h("li", {}, h("span", {}, label), h("span", { class: "track", "aria-hidden": "true" }, fill),
        h("span", { class: "n" }, number(scores[kind])));
    })));
}

function card(skill) {
  const size = [
    skill.kind && skill.kind !== "skill" ? skill.kind : null,
    skill.rank ? `rank ${skill.rank}` : null,
    skill.parameters ? `${big(skill.parameters)} parameters` : null,
  ].filter(Boolean).join(" · ");
  const examples = (skill.examples ?? []).slice(0, 5);
  const buttons = [h("button", { type: "button", class: "quiet", onclick: () => {
    panel.take({ [skill.name]: 1 });
    go("chat");
    byId("prompt").focus();
  } }, "Chat with this skill alone")];
  if (library.runtime_lora) {
    buttons.push(takeOut(skill.name));
  }
  return paint(h("article", { class: "card" },
    h("header", {}, h("h2", {}, dot(skill.name), skill.name), size && h("p", { class: "note" }, size)),
    h("p", {}, skill.description || "No description."),
    scoreTable(skill.name, skill.scores),
    examples.length ? h("div", {}, h("h3", {}, "Examples, to click"),
      h("div", { class: "examples" }, examples.map((text) => h("button",
        { type: "button", title: text, onclick: () => toChat(text) }, h("span", {}, text))))) : null,
    h("footer", {}, buttons)), skill.name);
}

/** A button that asks back: the first press arms it, the second one takes the skill out. */
function takeOut(name) {
  const [label, sure] = ["Take out", "Really take it out"];
  const button = h("button", {
    type: "button",
    class: "quiet",
    onclick: () => {
      if (button.textContent === sure) unload(name);
      button.textContent = sure;
    },
    onblur: () => { button.textContent = label; },
  }, label);
  return button;
}

function build() {
  const count = library.skills.length;
  byId("skills-lead").textContent = count
    ? `${count} ${count === 1 ? "skill" : "skills"} on the base ${library.base}, each a small adapter `
      + "beside the same frozen weights. Click an example to see it answered."
    : "This library holds no skills yet.";
  byId("cards").replaceChildren(...library.skills.map(card));
  const mixes = Object.entries(library.mixes ?? {});
  byId("mixes-box").hidden = !mixes.length;
  byId("mixes").replaceChildren(...mixes.map(([name, mix]) => h("article", { class: "card" },
    h("h2", {}, name), mix.description ? h("p", {}, mix.description) : null,
    mixBar(mix.weights ?? mix),
    h("footer", {}, h("button", { type: "button", class: "quiet", onclick: () => {
      panel.take(mix.weights ?? mix);
      go("chat");
      byId("prompt").focus();
    } }, "Chat with this mix")))));
  byId("upload-form").hidden = !library.runtime_lora;
  byId("upload-closed").hidden = library.runtime_lora;
}

async function upload(event) {
  event.preventDefault();
  const note = byId("upload-note");
  const name = byId("upload-name").value;
  note.className = "note";
  note.textContent = "Uploading…";
  byId("upload-send").disabled = true;
  try {
    const form = new FormData();
    form.set("lora_name", name);
    form.set("description", byId("upload-description").value);
    form.set("examples", byId("upload-examples").value);
    form.set("adapter_config.json", byId("upload-config").files[0]);
    form.set("adapter_model.safetensors", byId("upload-weights").files[0]);
    await send("page/upload", { form });
    await readLibrary();
    byId("upload-form").reset();
    note.textContent = `${name} is loaded.`;
  } catch (fault) {
    note.className = "error";
    note.textContent = fault.message;
  }
  byId("upload-send").disabled = false;
}

async function unload(name) {
  try {
    await send("v1/unload_lora_adapter", { json: { lora_name: name } });
    await readLibrary();
    say(`${name} was taken out.`);
  } catch (fault) {
    byId("upload-note").className = "error";
    byId("upload-note").textContent = fault.message;
  }
}

export function startSkills() {
  onLibrary(build);
  byId("upload-form").addEventListener("submit", upload);
}
