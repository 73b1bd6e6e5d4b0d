// Executions as they go on.

import { fetchPart } from "./page.js";
import { whenChanged } from "./live.js";

let isAsking = false;

async function refresh() {
  const runs = document.getElementById("runs");
  // Nobody's button is pulled away from under the pointer or the focus.
  if (!runs || isAsking || runs.contains(document.activeElement)) return;
  isAsking = true;
  const part = await fetchPart(runs.dataset.live).catch(() => null);
  isAsking = false;
  const fresh = part?.getElementById("runs");
  if (fresh && fresh.innerHTML !== runs.innerHTML) runs.replaceWith(fresh);
}

if (!new URLSearchParams(window.location.search).has("cursor")) {
  whenChanged(refresh);
  window.setInterval(() => !document.hidden && refresh(), 2000);
}
