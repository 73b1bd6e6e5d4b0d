// The page of an upload link: whoever was given it sends files without an account.

import { startUploads } from "./uploads.js";

document.documentElement.classList.add("scripted");

const form = document.getElementById("upload");
if (form)
  startUploads(form, () => {}, {
    headers: () => ({}),
    nameOf: (job) => ({ filename: job.path, filetype: job.file.type }),
  });
