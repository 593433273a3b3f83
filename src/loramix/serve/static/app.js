// Starts the page: the library, the views, the theme, the API key.

import { key, onKeyNeeded } from "./api.js";
import { startChat, stop } from "./chat.js";
import { comparePrompt, startCompare, stopComparing } from "./compare.js";
import { byId, say } from "./draw.js";
import { panel, startPanel } from "./panel.js";
import { startReport } from "./report.js";
import { startSkills } from "./skills.js";
import { keep, kept, library, onLibrary, readLibrary } from "./state.js";
import { startViews } from "./views.js";

const THEMES = { system: ["◐", "as the system"], light: ["☀", "light"], dark: ["☾", "dark"] };

function theme(name) {
  const [sign, label] = THEMES[name];
  document.documentElement.dataset.theme = name;
  byId("theme").textContent = sign;
  byId("theme").setAttribute("aria-label", `Theme: ${label}`);
  byId("theme").title = `Theme: ${label}`;
  keep({ theme: name });
}

function nextTheme() {
  const names = Object.keys(THEMES);
  theme(names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length]);
}

/** Asks for the key, one dialog for however many calls wait. Gives whether there is one now. */
let asking = null;
function askForKey(wrong) {
  asking ??= new Promise((resolve) => {
    const dialog = byId("key-dialog");
    byId("key-why").textContent = wrong
      ? "The server did not take this key. Try another one."
      : "This server asks for a key. It is kept until you close this tab.";
    byId("key").value = "";
    tellKey(true);
    dialog.returnValue = "";
    dialog.addEventListener("close", () => {
      const given = dialog.returnValue === "given" && typedKey();
      if (given) key.set(given);
      byId("key").value = "";
      byId("forget-key").hidden = !key.get();
      asking = null;
      resolve(Boolean(given));
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

const NO_KEY = "This cannot be a key. Keys are made of visible ASCII characters: Latin letters, "
  + "digits and signs, without spaces. Is the keyboard set to another script?";
const typedKey = () => byId("key").value.trim();

/** Says under the key whether it can be one. */
function tellKey(fits) {
  byId("key-fault").textContent = fits ? "" : NO_KEY;
  byId("key-fault").hidden = fits;
  byId("key").setAttribute("aria-invalid", String(!fits));
}

async function start() {
  byId("banner").hidden = true;
  try {
    await readLibrary();
  } catch (fault) {
    byId("banner").firstElementChild.textContent = fault.message;
    byId("banner").hidden = false;
  }
}

onKeyNeeded(askForKey);
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const fits = key.fits(typedKey());
  tellKey(fits);
  if (fits) byId("key-dialog").close("given");
  else byId("key").select();
});
byId("key").addEventListener("input", () => tellKey(true));
byId("key-cancel").addEventListener("click", () => byId("key-dialog").close(""));
byId("forget-key").hidden = !key.get();
byId("forget-key").addEventListener("click", () => {
  key.forget();
  say("The key is forgotten.");
  byId("forget-key").hidden = true;
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address names the view
  byId("main").focus();
});
byId("banner-again").addEventListener("click", start);
byId("theme").addEventListener("click", nextTheme);
theme(Object.keys(THEMES).includes(kept().theme) ? kept().theme : "system");
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || document.querySelector("dialog[open]")) return;
  if (panel.close() || stop() || stopComparing()) event.preventDefault();
});
onLibrary(() => {
  const count = library.skills.length;
  byId("where").textContent = `${library.base} · ${count} ${count === 1 ? "skill" : "skills"}`;
});
startPanel();
startChat({ onCompare: comparePrompt });
startCompare();
startSkills();
startReport();
startViews();
start();
