// Files that go straight to the far store, in parts that are asked for again where one was lost.

const PARTS_AT_ONCE = 3;
const RETRY_AFTER_MILLISECONDS = [500, 2000, 5000, 10000, 20000];
const LOOK_AGAIN = 8;
const LOOK_AGAIN_AT_FIRST = 1;

// What the platform, or the store, answered instead of taking it; as tus-js-client's errors are read.
class Refused extends Error {
  constructor(status, body) {
    super(`answered ${status}`);
    this.status = status;
    this.originalResponse = { getStatus: () => status, getBody: () => body };
  }
}

const wait = (milliseconds) => new Promise((resolve) => window.setTimeout(resolve, milliseconds));

async function ask(method, url, headers, document) {
  const told = document ? { ...headers, "Content-Type": "application/json" } : headers;
  const body = document ? JSON.stringify(document) : undefined;
  for (let tries = 0; ; tries += 1) {
    const response = await fetch(url, { method, headers: told, body, credentials: "same-origin" }).catch(() => null);
    if (response?.ok) return response.json();
    const again = !response || response.status >= 500 || response.status === 429;
    if (again && tries < RETRY_AFTER_MILLISECONDS.length) {
      await wait(RETRY_AFTER_MILLISECONDS[tries]);
      continue;
    }
    if (!response) throw new Error("out of reach");
    throw new Refused(response.status, await response.text());
  }
}

// One part, by XMLHttpRequest: fetch does not say how far it is.
function put(part, file, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PUT", part.url);
    for (const [name, value] of Object.entries(part.headers)) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", (event) => onProgress(event.loaded));
    request.addEventListener("load", () =>
      request.status < 300 ? resolve() : reject(new Refused(request.status, "")),
    );
    request.addEventListener("error", () => reject(new Error("out of reach")));
    request.send(file.slice(part.first_byte, part.first_byte + part.size_bytes));
  });
}

// The upload that was begun for this file before, as far as it still is; or null.
async function before(endpoint, headers, name) {
  const id = window.localStorage.getItem(name);
  if (!id) return null;
  try {
    return await ask("GET", `${endpoint}/${id}`, headers());
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    window.localStorage.removeItem(name);
    return null;
  }
}

// Sends a file; false where the home takes it itself, and nothing was sent.
export async function sendDirectly(endpoint, headers, job, onProgress) {
  const { file, key } = job;
  const name = ["cp-direct", endpoint, key, file.size, file.lastModified].join("|");
  let upload = await before(endpoint, headers, name);
  if (!upload) {
    const wanted = { key, size_bytes: file.size, content_type: file.type || null, direct: true };
    upload = await ask("POST", endpoint, headers(), wanted);
    if (!upload.direct) return false;
    window.localStorage.setItem(name, upload.id);
  }
  let lost = 0;
  while (!upload.version_id && upload.parts.length) {
    const there = upload.parts_there.length;
    const failed = await sendParts(upload, file, onProgress);
    if (failed) await wait(RETRY_AFTER_MILLISECONDS[Math.min(lost, RETRY_AFTER_MILLISECONDS.length - 1)]);
    upload = await ask("GET", `${endpoint}/${upload.id}`, headers());
    lost = failed && upload.parts_there.length === there ? lost + 1 : 0;
    if (lost > LOOK_AGAIN) throw failed;
    if (lost > LOOK_AGAIN_AT_FIRST && !upload.parts_there.length && !(failed instanceof Refused)) {
      // This page can't reach the store, or may not: the server takes the file.
      const abandoned = `${endpoint}/${upload.id}/abandon`;
      await fetch(abandoned, { method: "POST", headers: headers(), credentials: "same-origin" });
      window.localStorage.removeItem(name);
      return false;
    }
  }
  if (!upload.version_id) await ask("POST", `${endpoint}/${upload.id}/complete`, headers());
  window.localStorage.removeItem(name);
  return true;
}

// Sends the parts that were told, some at once; the last failure, or null.
async function sendParts(upload, file, onProgress) {
  const waiting = [...upload.parts];
  const sent = new Map();
  const there = upload.parts_there.reduce((sum, number) => {
    const first = (number - 1) * upload.part_size_bytes;
    return sum + Math.min(upload.part_size_bytes, upload.size_bytes - first);
  }, 0);
  let failure = null;
  async function worker() {
    while (waiting.length && !failure) {
      const part = waiting.shift();
      try {
        await put(part, file, (bytes) => {
          sent.set(part.number, bytes);
          onProgress(there + [...sent.values()].reduce((sum, each) => sum + each, 0), file.size);
        });
      } catch (error) {
        failure = error;
      }
    }
  }
  await Promise.all(Array.from({ length: PARTS_AT_ONCE }, worker));
  return failure;
}
