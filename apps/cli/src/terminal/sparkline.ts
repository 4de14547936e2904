/** A curve in one line of text. */

const BARS = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/** Values in memory. Further ones are averaged. */
const MAX_VALUES = 1_024;

/** A curve of any length in bounded memory: each value is the mean of as many rounds as it takes. */
export interface Trace {
  readonly values: readonly number[];
  add(value: number): void;
}

export function createTrace(): Trace {
  let values: number[] = [];
  let each = 1;
  let [sum, count] = [0, 0];
  return {
    get values() {
      return count > 0 ? [...values, sum / count] : values;
    },
    add(value) {
      if (!Number.isFinite(value)) return;
      sum += value;
      if (++count < each) return;
      values.push(sum / count);
      [sum, count] = [0, 0];
      if (values.length < MAX_VALUES) return;
      values = means(values, MAX_VALUES / 2);
      each *= 2;
    },
  };
}

/** At most `width` bars, from the lowest value to the highest; '' for fewer than two values. */
export function sparkline(values: readonly number[], width: number): string {
  if (values.length < 2) return '';
  const shown = means(values, Math.min(width, values.length));
  const [least, most] = [Math.min(...shown), Math.max(...shown)];
  const scale = most > least ? (BARS.length - 1) / (most - least) : 0;
  return shown.map((value) => BARS[Math.round((value - least) * scale)]).join('');
}

/** `count` means of neighbouring values. */
function means(values: readonly number[], count: number): number[] {
  return Array.from({ length: count }, (_, i) => {
    const [from, to] = [i, i + 1].map((edge) => Math.floor((edge * values.length) / count));
    const part = values.slice(from, to);
    return part.reduce((sum, value) => sum + value, 0) / part.length;
  });
}
