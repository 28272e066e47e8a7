// Four renditions by sharp: answers each line {"how", "source", "folder", "presets"} with {"seconds"} of processor time.
// One thread and no cache: the same file comes again and again, and would not be decoded.
"use strict";
const path = require("node:path");
const readline = require("node:readline");
const sharp = require("sharp");

sharp.cache(false);
sharp.concurrency(1);

function version(image, [, box, fit]) {
  return image.resize(box, box, { fit: fit === "cover" ? "cover" : "inside", withoutEnlargement: true });
}

function file(image, [name, , , quality], folder) {
  return image.jpeg({ quality, progressive: true, chromaSubsampling: "4:2:0" }).toFile(path.join(folder, `${name}.jpg`));
}

const ways = {
  // As its documentation has it: one input, cloned for each output.
  async clone({ source, folder, presets }) {
    const input = sharp(source).autoOrient();
    await Promise.all(presets.map((preset) => file(version(input.clone(), preset), preset, folder)));
  },
  // One decode: the pixels of the largest version are the input of the others.
  async chain({ source, folder, presets }) {
    const { data, info } = await version(sharp(source).autoOrient(), presets[0]).raw().toBuffer({ resolveWithObject: true });
    const raw = { width: info.width, height: info.height, channels: info.channels };
    const largest = () => sharp(data, { raw });
    await Promise.all(presets.map((preset, at) => file(at ? version(largest(), preset) : largest(), preset, folder)));
  },
};

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const job = JSON.parse(line);
    const before = process.cpuUsage();
    await ways[job.how](job);
    const { user, system } = process.cpuUsage(before);
    console.log(JSON.stringify({ seconds: (user + system) / 1e6 }));
  }
})();
