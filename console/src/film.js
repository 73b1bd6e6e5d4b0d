// A film: its rungs to choose from, captions, and pictures of the place one scrubs to.

export async function startFilm(video) {
  const tools = document.querySelector("[data-film-tools]");
  tools.hidden = false;
  captions(video, tools.querySelector("[data-captions]"));
  const board = video.dataset.board ? await storyboard(video.dataset.board) : [];
  scrub(video, tools.querySelector("#scrub"), tools.querySelector("[data-shot]"), board);
  const menu = tools.querySelector("[data-quality]");
  if (video.dataset.stream) await stream(video, menu);
  else files(video, menu);
}

async function stream(video, menu) {
  const { default: Hls } = await import("hls.js/light");
  if (!Hls.isSupported()) {
    if (video.canPlayType("application/vnd.apple.mpegurl")) video.src = video.dataset.stream;
    else files(video, menu);
    return;
  }
  const hls = new Hls({ enableWorker: false, capLevelToPlayerSize: true });
  hls.on(Hls.Events.MANIFEST_PARSED, () => {
    const select = menu.querySelector("select");
    select.add(new Option("Automatic", "-1"));
    hls.levels
      .map((level, index) => ({ index, height: level.height }))
      .sort((one, other) => other.height - one.height)
      .forEach(({ index, height }) => select.add(new Option(`${height}p`, String(index))));
    select.addEventListener("change", () => (hls.currentLevel = Number(select.value)));
    menu.hidden = hls.levels.length < 2;
    video.dataset.streaming = "1";
  });
  hls.on(Hls.Events.ERROR, (_event, error) => {
    if (!error.fatal) return;
    hls.destroy();
    delete video.dataset.streaming;
    video.load();
  });
  hls.loadSource(video.dataset.stream);
  hls.attachMedia(video);
}

// Without a stream the rungs are whole files; another one goes on at the same place.
function files(video, menu) {
  const sources = [...video.querySelectorAll("source[data-name]")];
  if (sources.length < 2) return;
  const select = menu.querySelector("select");
  sources.forEach((source) => select.add(new Option(source.dataset.name, source.src)));
  menu.hidden = false;
  select.addEventListener("change", () => {
    const at = video.currentTime;
    const wasPaused = video.paused;
    video.src = select.value;
    video.addEventListener("loadedmetadata", () => {
      video.currentTime = at;
      if (!wasPaused) video.play();
    }, { once: true });
  });
}

function captions(video, select) {
  if (!select) return;
  const tracks = () => [...video.textTracks];
  select.addEventListener("change", () =>
    tracks().forEach((track, index) => (track.mode = String(index) === select.value ? "showing" : "disabled")),
  );
  video.textTracks.addEventListener("change", () => {
    const index = tracks().findIndex((track) => track.mode === "showing");
    select.value = index < 0 ? "" : String(index);
  });
}

// The tiles of the storyboard: where each is on its sheet, and for which time.
async function storyboard(url) {
  const response = await fetch(url).catch(() => null);
  if (!response?.ok) return [];
  const tiles = [];
  const seconds = (text) => text.split(":").reduce((sum, part) => sum * 60 + Number(part), 0);
  for (const block of (await response.text()).split(/\n\n+/)) {
    const found = /([\d:.]+) --> ([\d:.]+)[^\n]*\n(.+)#xywh=(\d+),(\d+),(\d+),(\d+)/.exec(block);
    if (!found) continue;
    const [, from, to, sheet, x, y, width, height] = found;
    tiles.push({
      from: seconds(from), to: seconds(to), sheet: new URL(sheet, new URL(url, window.location.href)).href,
      x: Number(x), y: Number(y), width: Number(width), height: Number(height),
    });
  }
  return tiles;
}

function scrub(video, slider, shot, tiles) {
  const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
  let isHeld = false;

  const say = () => slider.setAttribute("aria-valuetext", `${clock(Number(slider.value))} of ${clock(video.duration || 0)}`);
  const fit = () => {
    slider.max = String(video.duration || 1);
    say();
  };
  if (video.readyState) fit();
  video.addEventListener("durationchange", fit);
  video.addEventListener("timeupdate", () => {
    if (!isHeld) slider.value = String(video.currentTime);
    say();
  });

  function look(seconds) {
    const tile = tiles.find((each) => seconds >= each.from && seconds < each.to) ?? tiles.at(-1);
    if (!tile) return;
    const box = slider.getBoundingClientRect();
    const share = seconds / (Number(slider.max) || 1);
    shot.style.width = `${tile.width}px`;
    shot.style.height = `${tile.height}px`;
    shot.style.left = `${Math.max(0, Math.min(box.width - tile.width, share * box.width - tile.width / 2))}px`;
    shot.style.backgroundImage = `url("${tile.sheet}")`;
    shot.style.backgroundPosition = `-${tile.x}px -${tile.y}px`;
    shot.hidden = false;
  }

  slider.addEventListener("pointermove", (event) => {
    const box = slider.getBoundingClientRect();
    look(Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)) * Number(slider.max));
  });
  for (const name of ["pointerleave", "blur"]) slider.addEventListener(name, () => (shot.hidden = true));
  slider.addEventListener("pointerdown", () => (isHeld = true));
  slider.addEventListener("input", () => {
    video.currentTime = Number(slider.value);
    look(Number(slider.value));
  });
  slider.addEventListener("change", () => {
    isHeld = false;
    video.currentTime = Number(slider.value);
  });
}
