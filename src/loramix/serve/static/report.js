// The library's report, in a frame that may run nothing.

import { json } from "./api.js";
import { byId } from "./draw.js";
import { library, onLibrary } from "./state.js";
import { onView } from "./views.js";

let shown = false;

async function showReport() {
  if (shown || library.report === null) return;
  const frame = byId("report-frame");
  if (!library.report) {
    frame.hidden = true;
    byId("report-empty").hidden = false;
    return;
  }
  shown = true;
  try {
    const { url } = await json("page/report", { method: "POST" }); // a frame cannot send a key
    frame.src = url;
    frame.hidden = false;
    byId("report-empty").hidden = true;
  } catch (fault) {
    shown = false;
    frame.hidden = true;
    byId("report-empty").hidden = false;
    if (fault.status !== 404) byId("report-why").textContent = fault.message;
  }
}

export function startReport() {
  onView("report", showReport);
  // who opens the page at its report is there before the library is
  onLibrary(() => { if (!byId("view-report").hidden) showReport(); });
}
