// A grid of any length: pages are fetched as they come near, and those far away are taken out of the document.

import { announce, fetchPart, isTyping } from "./page.js";
import { whenChanged } from "./live.js";

const COMES_OR_GOES = new Set(["added", "deleted", "undeleted", "moved", "removed", "reload"]);
const REFRESH_AT_MOST_EVERY_MILLISECONDS = 1200;
const AGAIN_AFTER_MILLISECONDS = 2000;
const NEAR = "1600px";
const KEPT_PAGES = 40;

// Counts what was asked for: an answer that comes after the next question is dropped.
let questions = 0;
document.body.addEventListener("htmx:beforeRequest", () => (questions += 1));

// What is at the top of the library now, for whoever looks at the top.
async function refresh() {
  if (window.scrollY > 600) return;
  const question = questions;
  const part = await fetchPart(window.location.href).catch(() => null);
  if (question !== questions) return;
  const results = part?.getElementById("results");
  if (!results || document.getElementById("results")?.contains(document.activeElement)) return;
  document.getElementById("results")?.replaceWith(results);
  document.body.dispatchEvent(new CustomEvent("htmx:afterSwap"));
}

let refreshTimer = 0;

function refreshSoon() {
  refreshTimer ||= window.setTimeout(async () => {
    await refresh();
    refreshTimer = 0;
  }, REFRESH_AT_MOST_EVERY_MILLISECONDS);
}

export function startGrid(picked = new Set()) {
  const root = document.querySelector("[data-grid]");
  const stops = [];
  const grid = { picked, refresh, stop: () => stops.forEach((stop) => stop()) };
  if (!root) {
    if (document.getElementById("results")) stops.push(whenChanged(refreshSoon));
    return grid;
  }
  const aborted = new AbortController();
  const { signal } = aborted;
  stops.push(() => aborted.abort());

  // -- pages --------------------------------------------------------------------------------------------------------

  const pages = new Map();
  let order = [];

  const watch = (chunk, url) => {
    pages.set(chunk, { url, html: "", isOut: false });
    leaving.observe(chunk);
  };

  const takeOut = (chunk) => {
    const page = pages.get(chunk);
    if (page.isOut || chunk.contains(document.activeElement)) return;
    chunk.style.height = `${chunk.offsetHeight}px`;
    page.html = chunk.innerHTML;
    page.isOut = true;
    chunk.replaceChildren();
    order = order.filter((each) => each !== chunk);
    order.push(chunk);
    // The text of pages that were left long ago is forgotten; their address brings it back.
    while (order.length > KEPT_PAGES) pages.get(order.shift()).html = "";
  };

  const bringBack = async (chunk) => {
    const page = pages.get(chunk);
    if (!page.isOut) return;
    page.isOut = false;
    if (page.html) chunk.innerHTML = page.html;
    else {
      const part = await fetchPart(page.url, signal).catch(() => null);
      const found = part?.querySelector(".chunk");
      if (!found) {
        page.isOut = true; // it is asked for again when it comes near again
        return;
      }
      chunk.replaceChildren(...found.children);
    }
    chunk.style.height = "";
    showPicked();
  };

  const leaving = new IntersectionObserver(
    (entries) => entries.forEach((entry) => (entry.isIntersecting ? bringBack(entry.target) : takeOut(entry.target))),
    { rootMargin: "3200px" },
  );
  stops.push(() => leaving.disconnect());

  let isFetching = false;
  const coming = new IntersectionObserver(
    (entries) => {
      if (entries.some((entry) => entry.isIntersecting)) fetchNext();
    },
    { rootMargin: NEAR },
  );
  stops.push(() => coming.disconnect());

  async function fetchNext() {
    const link = root.querySelector("[data-next]");
    if (!link || isFetching) return;
    isFetching = true;
    const url = link.getAttribute("href");
    const part = await fetchPart(url, signal).catch(() => null);
    isFetching = false;
    if (signal.aborted) return;
    if (!part) {
      window.setTimeout(fetchNext, AGAIN_AFTER_MILLISECONDS);
      return;
    }
    const place = link.closest(".pages");
    const chunk = part.querySelector(".chunk");
    const next = part.querySelector("[data-next]")?.closest(".pages");
    coming.unobserve(place);
    if (next) place.replaceWith(next);
    else place.remove();
    if (chunk) {
      root.insertBefore(chunk, next ?? null);
      watch(chunk, url);
      showPicked();
    }
    if (next) coming.observe(next);
  }

  root.querySelectorAll(".chunk").forEach((chunk) => watch(chunk, window.location.href));
  const first = root.querySelector("[data-next]")?.closest(".pages");
  if (first) coming.observe(first);

  // -- picking ------------------------------------------------------------------------------------------------------

  const bulk = document.querySelector("[data-bulk]");
  let anchor = null;

  const cards = () => [...root.querySelectorAll(".card")];

  function showPicked() {
    for (const card of cards()) {
      const box = card.querySelector(".pick input");
      if (!box) continue;
      box.checked = picked.has(card.dataset.id);
      card.classList.toggle("picked", box.checked);
    }
    root.classList.toggle("picking", picked.size > 0);
    if (!bulk) return;
    bulk.hidden = picked.size === 0;
    bulk.querySelector("[data-count]").textContent = picked.size === 1 ? "1 file picked" : `${picked.size} files picked`;
    bulk.querySelector("[data-clear]").hidden = false;
  }

  function pick(card, on) {
    if (on) picked.add(card.dataset.id);
    else picked.delete(card.dataset.id);
  }

  root.addEventListener(
    "click",
    (event) => {
      const box = event.target.closest(".pick input");
      if (!box) return;
      const card = box.closest(".card");
      const all = cards();
      if (event.shiftKey && anchor && all.includes(anchor)) {
        const [from, to] = [all.indexOf(anchor), all.indexOf(card)].sort((a, b) => a - b);
        all.slice(from, to + 1).forEach((each) => pick(each, box.checked));
      } else pick(card, box.checked);
      anchor = card;
      showPicked();
    },
    { signal },
  );

  bulk?.addEventListener(
    "reset",
    () => {
      picked.clear();
      showPicked();
      announce("Nothing is picked");
    },
    { signal },
  );
  // What is picked may lie on a page that is not in the document at the moment.
  bulk?.addEventListener(
    "formdata",
    (event) => {
      event.formData.delete("file");
      picked.forEach((id) => event.formData.append("file", id));
    },
    { signal },
  );

  // -- keys ---------------------------------------------------------------------------------------------------------

  document.addEventListener(
    "keydown",
    (event) => {
      if (isTyping(event.target) || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
      if (event.key === "Escape" && picked.size) {
        bulk?.reset();
        return;
      }
      const all = cards();
      if (!all.length) return;
      const card = event.target.closest?.(".card");
      const at = card ? all.indexOf(card) : -1;
      const move = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns(all), ArrowUp: -columns(all) }[event.key];
      if (move) {
        const next = all[at < 0 ? 0 : Math.min(Math.max(at + move, 0), all.length - 1)];
        next.querySelector(".open").focus();
        next.scrollIntoView({ block: "nearest" });
        event.preventDefault();
      } else if (event.key === " " && card) {
        if (card.querySelector(".pick input")) {
          pick(card, !picked.has(card.dataset.id));
          anchor = card;
          showPicked();
          announce(picked.has(card.dataset.id) ? "Picked" : "Not picked");
        }
        event.preventDefault();
      }
    },
    { signal },
  );

  const columns = (all) => {
    const top = all[0].offsetTop;
    const first = all.findIndex((card) => card.offsetTop > top);
    return first < 0 ? all.length : first;
  };

  // -- what happens meanwhile ---------------------------------------------------------------------------------------

  async function followBusy() {
    const busy = [...root.querySelectorAll(".card[data-busy]")].map((card) => card.dataset.id);
    if (!busy.length) return;
    const part = await fetchPart(`/library/cards?ids=${busy.slice(0, 150).join(",")}`, signal).catch(() => null);
    if (!part) return;
    for (const fresh of part.querySelectorAll(".card")) {
      const stale = root.querySelector(`.card[data-id="${CSS.escape(fresh.dataset.id)}"]`);
      if (!stale || stale.contains(document.activeElement)) continue;
      if (!fresh.hasAttribute("data-busy")) announce(`${fresh.querySelector(".name").textContent} is done`);
      stale.replaceWith(fresh);
    }
    showPicked();
  }
  stops.push(
    whenChanged((kinds) => {
      followBusy();
      if (!picked.size && [...kinds].some((kind) => COMES_OR_GOES.has(kind))) refreshSoon();
    }),
  );
  const timer = window.setInterval(() => !document.hidden && followBusy(), 2000);
  stops.push(() => window.clearInterval(timer));

  showPicked();
  return grid;
}
