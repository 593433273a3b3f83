// Which view is shown. It stands in the address, so that back and forward work.

import { byId } from "./draw.js";

const VIEWS = ["chat", "compare", "skills", "report"];
const arrivals = {};
let shown = null;

/** Calls `handler` whenever the view of that name has come up. */
export function onView(name, handler) { arrivals[name] = handler; }

/** Shows a view at once. */
export function go(view) {
  if (location.hash !== `#${view}`) history.pushState(null, "", `#${view}`);
  show();
}

function show() {
  const wanted = location.hash.slice(1);
  const view = VIEWS.includes(wanted) ? wanted : "chat";
  if (view === shown) return;
  shown = view;
  for (const name of VIEWS) byId(`view-${name}`).hidden = name !== view;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = view === "chat" ? "loramix" : `loramix · ${view}`;
  scrollTo(0, 0);
  arrivals[view]?.();
}

export function startViews() {
  addEventListener("hashchange", show);
  addEventListener("popstate", show);
  show();
}
