/** What a part of the benchmarks returns, and how a terminal shows it. */

/**
 * @typedef {object} Options
 * @property {boolean} quick tiny repetitions, which show whether it works, not how fast it is
 * @property {(text: string) => void} progress
 */
/** @typedef {{ caption?: string, head: readonly string[], rows: readonly (readonly string[])[] }} Table */
/**
 * @typedef {object} Goal
 * @property {string} text
 * @property {boolean} met
 * @property {boolean} binding whether a miss fails the command: true for correctness, false for the speed of this machine
 */
/**
 * @typedef {object} Measured
 * @property {readonly Table[]} tables
 * @property {readonly Goal[]} goals
 * @property {readonly string[]} notes
 * @property {unknown} data all figures, for --json
 */
/** @typedef {Measured | { skipped: string }} Result */
/**
 * @typedef {object} Part
 * @property {string} title
 * @property {string} about what is measured and what the figures mean
 * @property {(options: Options) => Promise<Result>} measure
 */

/** "12,345". */
export function count(/** @type {number} */ value) {
  return Math.round(value).toLocaleString('en');
}

export function decimal(/** @type {number} */ value, /** @type {number} */ digits) {
  return value.toFixed(digits);
}

/** Three digits: "0.93 ms", "25.6 ms", "8,123 ms". */
export function ms(/** @type {number} */ value) {
  return `${value >= 100 ? count(value) : value.toPrecision(3)} ms`;
}

/** @param {Table} table */
export function renderTable({ caption, head, rows }) {
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i].length)));
  const line = (/** @type {readonly string[]} */ cells) =>
    `  ${cells.map((cell, i) => cell.padEnd(widths[i])).join('  ')}`.trimEnd();
  return [...(caption === undefined ? [] : [caption]), line(head), ...rows.map(line)].join('\n');
}

/**
 * @param {string} title
 * @param {Result} result
 */
export function renderResult(title, result) {
  if ('skipped' in result) return `${title}\n\nNot measured: ${result.skipped}.\n`;
  const goals = result.goals.map(({ text, met }) => `${met ? 'met' : 'MISSED'}: ${text}`);
  return `${[title, ...result.tables.map(renderTable), [...goals, ...result.notes].join('\n')].filter(Boolean).join('\n\n')}\n`;
}
