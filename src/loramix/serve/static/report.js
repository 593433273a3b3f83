// The library's report, in a frame that may run nothing.

import { json } from "./api.js";
import { byId } from "./draw.js";
import { library } from "./state.js";

let shown = false;

export async function showReport() {
  if (shown) return;
  const frame = byId("report-frame");
  if (!library.report) {
    frame.hidden = true;
    byId("report-empty").hidden = false;
    return;
  }
  try {
    const { url } = await json("page/report", { method: "POST" }); // a frame cannot send a key
    frame.src = url;
    frame.hidden = false;
    byId("report-empty").hidden = true;
    shown = true;
  } catch (fault) {
    frame.hidden = true;
    byId("report-empty").hidden = false;
    if (fault.status !== 404) byId("report-why").textContent = fault.message;
  }
}
