// On every page: dialogs, copying, keys, the colours.

import { announce, isTyping } from "./page.js";

document.documentElement.classList.add("scripted");

// -- dialogs ------------------------------------------------------------------------------------------------------

function openDialog(name) {
  const dialog = document.getElementById(name);
  if (!(dialog instanceof HTMLDialogElement)) return false;
  dialog.showModal();
  return true;
}

document.addEventListener("click", (event) => {
  const opener = event.target.closest?.("[data-dialog]");
  if (opener && openDialog(opener.dataset.dialog)) event.preventDefault();
  if (event.target instanceof HTMLDialogElement) event.target.close();
  for (const menu of document.querySelectorAll("details.upload-menu[open], .bulk details[open]"))
    if (!menu.contains(event.target)) menu.open = false;
});

// -- copying ------------------------------------------------------------------------------------------------------

document.addEventListener("click", async (event) => {
  const button = event.target.closest?.("[data-copy]");
  if (!button || event.ctrlKey || event.metaKey || !navigator.clipboard) return;
  event.preventDefault();
  await navigator.clipboard.writeText(new URL(button.dataset.copy, window.location.href).href);
  announce("The link is copied");
  const word = button.querySelector("[data-word]") ?? button;
  const before = word.textContent;
  word.textContent = "Copied";
  window.setTimeout(() => (word.textContent = before), 1600);
});

for (const button of document.querySelectorAll("[data-copy-text]")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.dataset.copyText);
    button.querySelector("[data-word]").textContent = "Copied";
    announce("Copied");
  });
}

// -- keys ---------------------------------------------------------------------------------------------------------

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") {
    for (const menu of document.querySelectorAll("details.upload-menu[open], .bulk details[open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
    if (event.target.matches?.("#q") && !event.target.value) event.target.blur();
    return;
  }
  if (isTyping(event.target) || document.querySelector("dialog[open]")) return;
  if (event.key === "?") openDialog("keys");
  else if (event.key === "/") {
    const search = document.getElementById("q");
    if (search) {
      search.focus();
      search.select();
    } else window.location.assign("/library");
  } else return;
  event.preventDefault();
});

// -- colours ------------------------------------------------------------------------------------------------------

const colours = document.querySelector("[data-theme-switch]");
const system = matchMedia("(prefers-color-scheme: dark)");
const shownTheme = () => document.documentElement.dataset.theme || (system.matches ? "dark" : "light");

// The page can't know the system's colours when it is made: the switch offers those that are not shown.
function offerOtherColours() {
  const other = shownTheme() === "dark" ? "light" : "dark";
  colours.value = other;
  colours.querySelector(".unseen").textContent = `${other === "dark" ? "Dark" : "Light"} colours`;
  const use = colours.querySelector("use");
  use.setAttribute("href", use.getAttribute("href").replace(/#.*$/, other === "light" ? "#sun" : "#moon"));
}

if (colours) {
  offerOtherColours();
  system.addEventListener("change", offerOtherColours);
  colours.form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const form = new URLSearchParams(new FormData(event.target, colours));
    document.documentElement.dataset.theme = colours.value;
    offerOtherColours();
    await fetch(event.target.action, { method: "POST", body: form, redirect: "manual", credentials: "same-origin" });
  });
}

// -- a form is sent once --------------------------------------------------------------------------------------------

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.method !== "post") return;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "1";
  window.addEventListener("pageshow", () => delete form.dataset.sent, { once: true });
  window.setTimeout(() => delete form.dataset.sent, 4000);
});
