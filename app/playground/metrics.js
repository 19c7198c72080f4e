// Reads Prometheus' text format, and makes rates and quantiles of two readings.

/** @typedef {{ labels: Record<string, string>, value: number }} Sample */
/** @typedef {Map<string, Sample[]>} Reading */

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/**
 * @param {string} text
 * @returns {Reading}
 */
export function parse(text) {
  /** @type {Reading} */
  const found = new Map();
  for (const line of text.split("\n")) {
    const parts = line.startsWith("#") ? null : LINE.exec(line);
    if (!parts) continue;
    const labels = Object.fromEntries(
      [...(parts[2] ?? "").matchAll(LABEL)].map((each) => [each[1], (each[2] ?? "").replace(/\\(.)/g, "$1")]),
    );
    const name = parts[1] ?? "";
    const samples = found.get(name) ?? [];
    samples.push({ labels, value: Number(parts[3]) });
    found.set(name, samples);
  }
  return found;
}

/**
 * The sum of all samples of a name that are wanted.
 * @param {Reading | undefined} reading
 * @param {string} name
 * @param {(labels: Record<string, string>) => boolean} [isWanted]
 */
export function total(reading, name, isWanted = () => true) {
  return (reading?.get(name) ?? []).reduce((sum, { labels, value }) => (isWanted(labels) ? sum + value : sum), 0);
}

/**
 * How many values a histogram counted up to each bound, added up over what is wanted.
 * @param {Reading | undefined} reading
 * @param {string} name
 * @param {(labels: Record<string, string>) => boolean} [isWanted]
 * @returns {Map<number, number>}
 */
export function buckets(reading, name, isWanted = () => true) {
  const found = new Map();
  for (const { labels, value } of reading?.get(`${name}_bucket`) ?? []) {
    if (!isWanted(labels)) continue;
    const bound = labels.le === "+Inf" ? Infinity : Number(labels.le);
    found.set(bound, (found.get(bound) ?? 0) + value);
  }
  return new Map([...found].sort(([one], [other]) => one - other));
}

/**
 * What came to a histogram between two readings.
 * @param {Map<number, number>} before
 * @param {Map<number, number>} after
 */
export const between = (before, after) =>
  new Map([...after].map(([bound, count]) => [bound, Math.max(0, count - (before.get(bound) ?? 0))]));

/**
 * The value below which a share of all lies, as far as the buckets tell; null if there are none.
 * @param {Map<number, number>} counts
 * @param {number} share
 */
export function quantile(counts, share) {
  const all = counts.get(Infinity) ?? 0;
  if (!all) return null;
  let [low, below] = [0, 0];
  for (const [bound, count] of counts) {
    if (count >= share * all) {
      if (bound === Infinity) return low;
      return low + ((bound - low) * (share * all - below)) / Math.max(count - below, 1e-9);
    }
    [low, below] = [bound, count];
  }
  return low;
}
