/** Round numbers for an axis: 1, 2 or 5 times a power of ten apart. */

/** About this many lines suit a chart. */
const COUNT = 6;

function stepFor(span: number, count: number): number {
  const raw = span / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  return power * ([1, 2, 5].find((factor) => factor * power >= raw) ?? 10);
}

/** `first` to `last` steps from zero. The rounding takes back what 0.1 + 0.2 adds. */
function multiples(step: number, first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/** From at most `low` to at least `high`, at least two. */
export function ticksAround(low: number, high: number, count = COUNT): number[] {
  const step = stepFor(high > low ? high - low : 1, count);
  const first = Math.floor(low / step);
  const steps = Math.ceil((Math.max(high, low + step / 2) - first * step) / step - 1e-9);
  return multiples(step, first, first + Math.max(1, steps));
}

/** Those between both ends. */
export function ticksWithin(low: number, high: number, count = COUNT): number[] {
  if (!(high > low)) return [low];
  const step = stepFor(high - low, count);
  // Both ends may be multiples themselves, and 0.3 / 0.05 is a little less than 6.
  return multiples(step, Math.ceil(low / step - 1e-9), Math.floor(high / step + 1e-9));
}
