// Bundles the console's modules into the package. Run by `make console`, and when the wheel is built.
import { build } from "esbuild";
import { readFile, rm, writeFile, readdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import path from "node:path";

const here = path.dirname(fileURLToPath(import.meta.url));
const target = path.join(here, "..", "src", "contentplatform", "web", "static");

await rm(target, { recursive: true, force: true });
const result = await build({
  entryPoints: ["shell", "library", "file", "activity", "outside"].map((name) => path.join(here, "src", `${name}.js`)),
  bundle: true,
  splitting: true,
  format: "esm",
  target: ["es2022"],
  minify: true,
  metafile: true,
  legalComments: "none",
  chunkNames: "chunk-[hash]",
  outdir: target,
  absWorkingDir: here,
  logLevel: "warning",
});

// Whoever gets the bundle gets the licences of what is in it.
const packages = new Set();
for (const input of Object.keys(result.metafile.inputs)) {
  const found = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
  if (found) packages.add(found[1]);
}
const texts = [];
for (const name of [...packages].sort()) {
  const folder = path.join(here, "node_modules", name);
  const told = JSON.parse(await readFile(path.join(folder, "package.json"), "utf8"));
  const file = (await readdir(folder)).find((each) => /^licen[cs]e/i.test(each));
  const text = file ? await readFile(path.join(folder, file), "utf8") : "";
  texts.push(`${name} ${told.version} (${told.license})\n\n${text.trim()}\n`);
}
await writeFile(path.join(target, "licences.txt"), texts.join(`\n${"-".repeat(80)}\n\n`));
