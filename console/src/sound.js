// A sound: its peaks drawn in the page's own colours, and played from where one points.

export async function startSound(canvas, audio) {
  const response = await fetch(canvas.dataset.peaks).catch(() => null);
  if (!response?.ok) return;
  const peaks = levels(await response.json());
  if (!peaks.length) return;
  document.querySelector("[data-wave-picture]")?.setAttribute("hidden", "");
  canvas.hidden = false;

  const draw = () => {
    const ratio = window.devicePixelRatio || 1;
    const width = canvas.clientWidth * ratio;
    const height = canvas.clientHeight * ratio;
    canvas.width = width;
    canvas.height = height;
    const pen = canvas.getContext("2d");
    const style = getComputedStyle(canvas);
    const played = audio.duration ? audio.currentTime / audio.duration : 0;
    const step = 3 * ratio;
    const bars = Math.floor(width / step);
    for (let bar = 0; bar < bars; bar += 1) {
      const from = Math.floor((bar * peaks.length) / bars);
      const to = Math.max(from + 1, Math.floor(((bar + 1) * peaks.length) / bars));
      let top = 0;
      for (let at = from; at < to; at += 1) top = Math.max(top, peaks[at]);
      const size = Math.max(ratio, top * height);
      pen.globalAlpha = bar / bars < played ? 1 : 0.42;
      pen.fillStyle = style.color;
      pen.fillRect(bar * step, (height - size) / 2, 2 * ratio, size);
    }
  };
  draw();
  audio.addEventListener("timeupdate", draw);
  audio.addEventListener("loadedmetadata", draw);
  new ResizeObserver(draw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    if (audio.duration) audio.currentTime = ((event.clientX - box.left) / box.width) * audio.duration;
    draw();
  });
}

// How loud each piece is, from 0 to 1, of a document with lowest and highest values in turn.
function levels(told) {
  const values = told.data ?? told.peaks ?? [];
  const bits = told.bits ?? 8;
  const full = 2 ** (bits - 1);
  const channels = told.channels ?? 1;
  const found = [];
  for (let at = 0; at + 2 * channels <= values.length; at += 2 * channels) {
    let top = 0;
    for (let each = 0; each < 2 * channels; each += 1) top = Math.max(top, Math.abs(values[at + each]));
    found.push(Math.min(1, top / full));
  }
  return found;
}
