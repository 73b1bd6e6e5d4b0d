// The library: search as you type, a grid without end, picking, keys, uploads.

import htmx from "htmx.org";
import { startGrid } from "./grid.js";
import { startUploads } from "./uploads.js";
import { announce } from "./page.js";

htmx.config.includeIndicatorStyles = false;
htmx.config.allowEval = false;

let grid = startGrid();

document.body.addEventListener("htmx:afterSwap", () => {
  grid.stop();
  grid = startGrid(grid.picked);
  const total = Number(document.getElementById("results")?.dataset.total ?? 0);
  announce(total === 1 ? "1 file found" : `${total} files found`);
});
document.body.addEventListener("htmx:responseError", () => announce("The search did not work; try again"));

// Facets and kinds replace the results only; the search field keeps what is typed, and the focus.
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("#results .kinds a, #results .facets a, #results .chosen a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const url = link.getAttribute("href");
  window.history.pushState({}, "", url);
  htmx.ajax("GET", url, { target: "#results", swap: "outerHTML" });
});
window.addEventListener("popstate", () => window.location.reload());

const form = document.getElementById("upload");
if (form) startUploads(form, () => grid.refresh());
