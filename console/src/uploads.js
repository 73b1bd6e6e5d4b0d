// Uploads that go on where they stopped: dropped files and folders, a few at a time, each with its own error.

import { Upload } from "tus-js-client";
import { sendDirectly } from "./direct.js";
import { announce, csrfToken } from "./page.js";

const AT_ONCE = 3;
const RETRY_AFTER_MILLISECONDS = [0, 500, 2000, 5000, 10000, 20000];
const SHOWN = 60;

// Everything that was dropped, folders walked through, with the path of each file.
async function* dropped(items) {
  const entries = [...items].map((item) => item.webkitGetAsEntry?.() ?? null).filter(Boolean);
  for (const entry of entries) yield* walk(entry, "");
}

async function* walk(entry, folder) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    yield { file, path: folder + file.name };
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return;
    for (const each of some) yield* walk(each, `${folder}${entry.name}/`);
  }
}

// Why an upload failed, in the server's own words where it had some.
export function reasonOf(error) {
  const response = error.originalResponse;
  if (!response) return "The server can’t be reached. Try again, and it goes on where it stopped.";
  try {
    const told = JSON.parse(response.getBody());
    return [told.detail, told.hint].filter(Boolean).join(". ") || told.title;
  } catch {
    return `The server answered ${response.getStatus()}.`;
  }
}

export function startUploads(form, onDone, { headers = () => ({ "X-CSRF-Token": csrfToken() }), nameOf = null } = {}) {
  const endpoint = form.dataset.uploads;
  const direct = "direct" in form.dataset;
  const panel = document.getElementById("uploads");
  const list = panel.querySelector("ul");
  const heading = panel.querySelector("[data-heading]");
  const closer = panel.querySelector("[data-close]");
  const folderField = form.elements.folder;
  const waiting = [];
  let running = 0;
  let total = 0;
  let done = 0;
  let failed = 0;
  let doneTimer = 0;

  function add(file, path) {
    const folder = (folderField?.value ?? "").replace(/^\/+|\/+$/g, "");
    const job = { file, key: folder ? `${folder}/${path}` : path, path, item: null, upload: null };
    total += 1;
    waiting.push(job);
    panel.hidden = false;
    next();
  }

  function next() {
    while (running < AT_ONCE && waiting.length) start(waiting.shift());
    say();
  }

  function item(job) {
    const li = document.createElement("li");
    const name = document.createElement("span");
    name.className = "name";
    name.textContent = job.path;
    const state = document.createElement("span");
    state.className = "number quiet";
    const bar = document.createElement("progress");
    bar.max = 1;
    bar.value = 0;
    bar.setAttribute("aria-label", job.path);
    li.append(name, state, bar);
    list.prepend(li);
    while (list.children.length > SHOWN) {
      const oldest = [...list.children].reverse().find((each) => each.dataset.state === "done");
      if (!oldest) break;
      oldest.remove();
    }
    job.item = { li, state, bar };
  }

  function start(job) {
    running += 1;
    if (!job.item) item(job);
    const { li, state, bar } = job.item;
    li.dataset.state = "running";
    const progress = (sent, size) => {
      bar.value = size ? sent / size : 0;
      state.textContent = size ? `${Math.floor((100 * sent) / size)} %` : "";
    };
    const stored = () => {
      running -= 1;
      done += 1;
      li.dataset.state = "done";
      state.textContent = "Stored";
      bar.remove();
      window.clearTimeout(doneTimer);
      doneTimer = window.setTimeout(onDone, waiting.length + running ? 1500 : 250);
      next();
    };
    const broken = (error) => {
      running -= 1;
      failed += 1;
      fail(job, reasonOf(error));
      next();
    };
    if (!direct || !job.file.size) {
      resumable(job, progress, stored, broken);
      return;
    }
    sendDirectly(endpoint, headers, job, progress)
      .then((sent) => (sent ? stored() : resumable(job, progress, stored, broken)))
      .catch(broken);
  }

  // By way of the server, with tus.
  function resumable(job, onProgress, onSuccess, onError) {
    const metadata = nameOf ? nameOf(job) : { filename: job.file.name, key: job.key, filetype: job.file.type };
    const upload = new Upload(job.file, {
      endpoint,
      headers: headers(),
      metadata,
      retryDelays: RETRY_AFTER_MILLISECONDS,
      uploadDataDuringCreation: true,
      removeFingerprintOnSuccess: true,
      fingerprint: async (file) => ["cp", endpoint, job.key, file.size, file.lastModified].join("|"),
      onProgress,
      onSuccess,
      onError,
    });
    job.upload = upload;
    upload
      .findPreviousUploads()
      .then((before) => {
        if (before.length) upload.resumeFromPreviousUpload(before[0]);
        upload.start();
      })
      .catch(() => upload.start());
  }

  function fail(job, words) {
    const { li, state, bar } = job.item;
    li.dataset.state = "failed";
    bar.hidden = true;
    const why = document.createElement("span");
    why.className = "why";
    why.textContent = words;
    const again = document.createElement("button");
    again.type = "button";
    again.className = "button slim";
    again.textContent = "Try again";
    again.addEventListener("click", () => {
      why.remove();
      again.remove();
      li.insertBefore(state, bar);
      bar.hidden = false;
      failed -= 1;
      waiting.push(job);
      next();
    });
    state.remove();
    li.append(again, why);
    list.prepend(li);
    announce(`${job.path}: ${words}`);
  }

  function say() {
    const left = running + waiting.length;
    heading.textContent = left
      ? `Uploading ${Math.min(done + failed + 1, total)} of ${total}`
      : `${done} of ${total} stored${failed ? `, ${failed} failed` : ""}`;
    closer.hidden = left > 0;
    if (!left && total) announce(heading.textContent);
  }

  closer.addEventListener("click", () => {
    panel.hidden = true;
    list.replaceChildren();
    total = done = failed = 0;
  });

  // -- where files come from ----------------------------------------------------------------------------------------

  const pickers = [...form.querySelectorAll('input[type="file"]')];
  form.querySelector("[data-folder-field]")?.removeAttribute("hidden");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!form.reportValidity()) return;
    for (const picker of pickers) {
      for (const file of picker.files) add(file, file.webkitRelativePath || file.name);
      picker.value = "";
    }
    form.closest("details")?.removeAttribute("open");
  });

  const veil = document.getElementById("drop");
  let depth = 0;
  const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragenter", (event) => {
    if (!holdsFiles(event)) return;
    depth += 1;
    veil?.removeAttribute("hidden");
  });
  document.addEventListener("dragleave", (event) => {
    if (!holdsFiles(event)) return;
    depth -= 1;
    if (depth <= 0) veil?.setAttribute("hidden", "");
  });
  document.addEventListener("dragover", (event) => {
    if (holdsFiles(event)) event.preventDefault();
  });
  document.addEventListener("drop", async (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    depth = 0;
    veil?.setAttribute("hidden", "");
    const plain = [...event.dataTransfer.files];
    const walked = dropped(event.dataTransfer.items);
    let any = false;
    for await (const { file, path } of walked) {
      any = true;
      add(file, path);
    }
    if (!any) plain.forEach((file) => add(file, file.name));
  });

  window.addEventListener("beforeunload", (event) => {
    if (running + waiting.length) event.preventDefault();
  });
}
