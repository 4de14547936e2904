/** docs/benchmarks.md: one section per part, each with its own command, machine and date, so that parts can be measured separately. */
import { readFile, rename, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import prettier from 'prettier';

/** @typedef {import('./report.mjs').Measured} Measured */
/** @typedef {import('./report.mjs').Part} Part */
/** @typedef {import('./report.mjs').Table} Table */

const FILE = fileURLToPath(new URL('../../docs/benchmarks.md', import.meta.url));

const INTRODUCTION = `# Benchmarks

\`npm run bench\` measures everything on this page on your machine, in about an hour. \`npm run bench -- PART\` measures one part. \`--json\`
prints the figures for a program. \`--quick\` only checks that everything works. \`--write\` puts the measured figures into this page.

Every contestant is a process of its own that idles until its turn. Each is warmed up. Then they are timed in turn, again and again, never
two at once. Figures are medians. A ratio is the median over the turns of one run, so whatever disturbs the machine disturbs both sides.
Absolute figures belong to the machine they were measured on: on a shared or virtual one they vary by 10 % and more from one hour to the
next, ratios by less. Leave the machine alone while it measures.
`;

/**
 * Replaces the sections of the parts that were measured.
 * @param {ReadonlyMap<string, Part>} parts all parts, in the order of the page
 * @param {ReadonlyMap<string, Measured>} measured
 * @param {string} machine
 * @returns {Promise<string>} the file's path
 */
export async function writeDocument(parts, measured, machine) {
  const before = await readFile(FILE, 'utf8').catch((/** @type {NodeJS.ErrnoException} */ error) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
  const sections = [...parts].map(([name, part]) => {
    const result = measured.get(name);
    return result === undefined
      ? (sectionOf(name, before) ?? unmeasured(name, part))
      : renderSection(name, part, result, machine);
  });
  const options = (await prettier.resolveConfig(FILE)) ?? {};
  const text = await prettier.format([INTRODUCTION, ...sections].join('\n\n'), { ...options, parser: 'markdown' });
  // A process that breaks while it writes would leave nothing of the other parts.
  const unfinished = `${FILE}.unfinished`;
  await writeFile(unfinished, text);
  await rename(unfinished, FILE);
  return FILE;
}

const opening = (/** @type {string} */ name) => `<!-- part: ${name} -->`;
const closing = (/** @type {string} */ name) => `<!-- end: ${name} -->`;

/** @param {string} name @param {string} text */
function sectionOf(name, text) {
  const [start, end] = [text.indexOf(opening(name)), text.indexOf(closing(name))];
  return start < 0 || end < start ? undefined : text.slice(start, end + closing(name).length);
}

/** @param {string} name @param {Part} part */
function unmeasured(name, { title, about }) {
  return [opening(name), `## ${title}`, about, `Not measured yet: \`npm run bench -- ${name} --write\`.`, closing(name)].join(
    '\n\n',
  );
}

/**
 * @param {string} name
 * @param {Part} part
 * @param {Measured} result
 * @param {string} machine
 */
function renderSection(name, { title, about }, { tables, goals, notes }, machine) {
  return [
    opening(name),
    `## ${title}`,
    about,
    `\`npm run bench -- ${name}\` · ${machine}`,
    ...tables.map(renderMarkdownTable),
    [
      ...goals.map(({ text, met }) => `- **${met ? 'Goal met' : 'Goal missed'}**: ${text}`),
      ...notes.map((note) => `- ${note}`),
    ].join('\n'),
    closing(name),
  ].join('\n\n');
}

/** @param {Table} table */
function renderMarkdownTable({ caption, head, rows }) {
  const line = (/** @type {readonly string[]} */ cells) => `| ${cells.join(' | ')} |`;
  const table = [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
  return caption === undefined ? table : `${caption}:\n\n${table}`;
}
