// What every module needs of the page: its token, its voice, its parts fetched anew.

export const csrfToken = () => document.body.dataset.csrf ?? "";

// Says something to whoever can't see it.
export function announce(text) {
  const place = document.getElementById("announce");
  if (place) place.textContent = text;
}

// A part of a page, as a document; null where the answer was none.
export async function fetchPart(url, signal) {
  const response = await fetch(url, { headers: { "HX-Request": "true" }, credentials: "same-origin", signal });
  const elsewhere = response.headers.get("HX-Redirect");
  if (elsewhere) window.location.assign(elsewhere);
  if (!response.ok) return null;
  return new DOMParser().parseFromString(await response.text(), "text/html");
}

export const isTyping = (target) =>
  target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) && target.type !== "checkbox";
