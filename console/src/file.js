// One file: a picture one can come closer to, a film, a sound; and the page anew when it is done.

import { startZoom } from "./zoom.js";
import { startFilm } from "./film.js";
import { startSound } from "./sound.js";
import { whenChanged } from "./live.js";

const zoom = document.querySelector("[data-zoom]");
if (zoom) startZoom(zoom);

const film = document.getElementById("film");
if (film) startFilm(film);

const canvas = document.querySelector("[data-peaks]");
if (canvas) startSound(canvas, document.getElementById("sound"));

if (document.querySelector(".file[data-busy]")) {
  const look = async () => {
    const response = await fetch(window.location.href, { credentials: "same-origin" });
    if (!response.ok) return;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const isWriting = document.activeElement?.matches?.("input, textarea, select");
    if (!page.querySelector(".file[data-busy]") && !isWriting) window.location.reload();
  };
  whenChanged(look);
  window.setInterval(() => !document.hidden && look(), 2500);
}
