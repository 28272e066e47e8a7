// node renditions.js SOURCE FOLDER ROUNDS PRESETS: makes the versions as sharp's users do, one decode for all of them, and prints
// {"seconds": [...], "peak": megabytes}: processor time of each round after a warm-up, and the peak of this process's memory.
import fs from "node:fs";
import sharp from "sharp";

const [source, folder, rounds, presets] = process.argv.slice(2);
sharp.concurrency(1);
sharp.cache(false);

async function versions() {
  const input = fs.readFileSync(source);
  const largest = await sharp(input).rotate().resize(2048, 2048, { fit: "inside", withoutEnlargement: true }).raw().toBuffer({ resolveWithObject: true });
  const raw = { width: largest.info.width, height: largest.info.height, channels: largest.info.channels };
  for (const [name, box, fit, quality] of JSON.parse(presets)) {
    await sharp(largest.data, { raw })
      .resize(box, box, { fit, withoutEnlargement: true })
      .jpeg({ quality, progressive: true })
      .toFile(`${folder}/${name}.jpg`);
  }
}

const seconds = [];
for (let round = 0; round <= Number(rounds); round++) {
  const before = process.cpuUsage();
  await versions();
  const { user, system } = process.cpuUsage(before);
  if (round > 0) seconds.push((user + system) / 1e6);
}
console.log(JSON.stringify({ seconds, peak: process.resourceUsage().maxRSS / 1024 }));
