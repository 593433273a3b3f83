// What the views share: the library that is served, and a few settings that outlive the tab.

import { json } from "./api.js";
import { nameSkills } from "./draw.js";

const KEPT = "loramix-settings";
const listeners = [];

/**
 * `/v1/skills` as it came last, and the server's `limits` of a request. `report` is null until it
 * is known; `gate` says whether a mix can be left to the server, true unless it is known better.
 */
export const library = { base: "", skills: [], mixes: {}, runtime_lora: false, report: null,
  gate: true, limits: { max_tokens: 128 } };

/** Calls `listener` now and then whenever the library has been read anew. */
export function onLibrary(listener) { listeners.push(listener); }

export async function readLibrary() {
  const [read, limits] = await Promise.all([json("v1/skills"), json("page/limits")]);
  Object.assign(library, { gate: true }, read, { limits });
  nameSkills(library.skills.map((skill) => skill.name));
  for (const listener of listeners) listener(library);
}

/** Takes from a fault that there is no gate (any more): that is news of the library. */
export function noteGate(fault) {
  if (fault.code !== "no_gate" || !library.gate) return;
  library.gate = false;
  for (const listener of listeners) listener(library);
}

export function kept() {
  try { return JSON.parse(localStorage.getItem(KEPT)) ?? {}; } catch { return {}; }
}

export function keep(changes) {
  try { localStorage.setItem(KEPT, JSON.stringify({ ...kept(), ...changes })); } catch { /* fine */ }
}
