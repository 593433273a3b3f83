// The skills with their cards, the saved mixes, and the door for one more adapter.

import { json } from "./api.js";
import { askExample } from "./chat.js";
import { byId, colour, dot, h, mixBar, number, paint, say } from "./draw.js";
import { panel } from "./panel.js";
import { library, onLibrary, readLibrary } from "./state.js";
import { go } from "./views.js";

const SCORES = [["base", "base"], ["skill", "skill"], ["routed", "routed"]];

function toChat(prompt, skill) {
  go("chat");
  askExample(prompt, skill);
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
    buttons.push(h("button", { type: "button", class: "danger", "aria-haspopup": "dialog",
      onclick: () => takeOut(skill.name) }, "Take out…"));
  }
  return paint(h("article", { class: "card" },
    h("header", {}, h("h2", {}, dot(skill.name), skill.name), size && h("p", { class: "note" }, size)),
    h("p", {}, skill.description || "No description."),
    scoreTable(skill.name, skill.scores),
    examples.length ? h("div", {}, h("h3", {}, "Examples, to click"),
      h("div", { class: "examples" }, examples.map((text) => h("button",
        { type: "button", title: text, onclick: () => toChat(text, skill.name) },
        h("span", {}, text))))) : null,
    h("footer", {}, buttons)), skill.name);
}

/** Asks once whether a skill is to leave the library for good, and takes it out. */
function takeOut(name) {
  const dialog = byId("out-dialog");
  byId("out-title").textContent = `Take ${name} out?`;
  byId("out-fault").textContent = "";
  byId("out-yes").onclick = () => unload(name);
  dialog.showModal();
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

// what the server says to programs, for people
const WORDS = { no_examples: "Without example prompts the gate will hardly choose it." };

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
    const told = await json("page/upload", { form });
    await readLibrary();
    byId("upload-form").reset();
    const warnings = told.warnings.map(({ code, message }) => WORDS[code] ?? `Note: ${message}.`);
    note.textContent = [`${name} is loaded.`, ...warnings].join(" ");
  } catch (fault) {
    note.className = "error";
    note.textContent = fault.message;
  }
  byId("upload-send").disabled = false;
}

async function unload(name) {
  byId("out-yes").disabled = true;
  try {
    await json("v1/unload_lora_adapter", { json: { lora_name: name } });
    await readLibrary();
    byId("out-dialog").close();
    byId("skills-title").focus(); // its button is gone
    say(`${name} was taken out.`);
  } catch (fault) {
    byId("out-fault").textContent = fault.message;
  }
  byId("out-yes").disabled = false;
}

export function startSkills() {
  onLibrary(build);
  byId("upload-form").addEventListener("submit", upload);
  byId("out-no").addEventListener("click", () => byId("out-dialog").close());
}
