import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { createProgram } from '../src/main.js';
import { processShell } from '../src/shell.js';
import { collectRemedies, collectTexts, readSources, UNQUOTED, type Remedy } from './fixtures/remedies.js';

const sources = readSources();
const remedies = collectRemedies(sources);
const program = createProgram({ ...processShell(), program: 'troupe' }, () => undefined);
const scripts = Object.keys(
  (JSON.parse(readFileSync(fileURLToPath(new URL('../../../package.json', import.meta.url)), 'utf8')) as { scripts: object })
    .scripts,
);

/** Flags of npm, of the script that compiles the native engine, and of sbatch. */
const FOREIGN_FLAGS = [
  ...['--no-save', '--global', '--prefix', '--verbose'],
  ...['--partition', '--time', '--account', '--qos', '--mem', '--gres', '--comment'],
];

/** Interpolated after a flag or in a command, though not quoted: none can hold more than digits and plain names. */
const PLAIN = [
  'entry.name', // Of the catalogue.
  'part.sha256', // Hex digits.
  'found.sha256',
  'enoughGib', // A number.
  'windowsPerPass',
  'REPRODUCIBLE_ENGINE.name',
  "option.default ?? choices?.[0] ?? '1'", // Of the table of flags.
];

const COMMAND = /\b(?:troupe|npm|npx|node|iconv|head|sh|rm|mv|cp|cat|tr|split|unzip|apt|brew) /;
const flagsIn = (text: string) => [...text.matchAll(/(?<![\w-])--[a-z][a-z0-9-]*/g)].map(([flag]) => flag);
const flagsOf = (command: Command): string[] => [
  ...command.options.flatMap(({ long }) => long ?? []),
  '--help',
  ...command.commands.flatMap(flagsOf),
];

/** Words of a command line, as a shell splits them. */
function wordsOf(line: string): string[] {
  return (line.match(/(?:'[^']*'|\\.|[^\s'])+/g) ?? []).map((word) => word.replaceAll(/'([^']*)'|\\(.)/g, '$1$2'));
}

/** The commands `troupe ...` in a text, each up to the end of its clause. The shell knows how to call `troupe`. */
function commandsIn(text: string): string[][] {
  const named = text.replaceAll(/⟨[\w.#]*program⟩/g, 'troupe');
  const command = /(?<![\w/])troupe ((?:[a-z]+)(?: (?:'[^']*'|[^\s'.,;:()"]|\.(?=\S))+)*)/g;
  return [...named.matchAll(command)].map(([, line]) => wordsOf(line));
}

/** What is wrong with a command line, without the first word; undefined if nothing is. */
function commandProblem([first, second, ...others]: readonly string[]): string | undefined {
  const named = program.commands.find((command) => command.name() === first);
  if (named === undefined) return `there is no command ${first}`;
  const command = named.commands.find((each) => each.name() === second) ?? named;
  const unknown = flagsIn([second, ...others].join(' ')).find((flag) => !flagsOf(command).includes(flag));
  return unknown === undefined ? undefined : `${first} has no flag ${unknown}`;
}

function problemsOf(texts: readonly Remedy[], problem: (text: string) => string | undefined): string[] {
  return texts.flatMap(({ where, text }) => {
    const wrong = problem(text);
    return wrong === undefined ? [] : [`${where}: ${wrong}: ${text}`];
  });
}

/** A command must not write to a file that it or the user may be reading. */
function outputProblem(text: string): string | undefined {
  const [before, after] = text.split(/ > (?=\S)/);
  if (after === undefined) return undefined;
  const line = COMMAND.exec(before);
  if (line === null) return 'what writes to the file is no known command';
  const inputs = wordsOf(before.slice(line.index));
  const [output] = wordsOf(after);
  if (inputs.includes(output)) return 'the output is the input';
  // A fixed name may be that of the file at hand.
  return inputs.some((input) => output.startsWith(input)) ? undefined : 'the name of the output does not follow from the input';
}

function quotingProblem(text: string): string | undefined {
  // Arithmetic gives a number.
  let shown = text.replaceAll(/⟨[\w.]+ [*+-] \d+⟩/g, '1');
  for (const plain of PLAIN) shown = shown.replaceAll(`⟨${plain}⟩`, 'x');
  const found = new RegExp(`(?:--[a-z-]+[ =]|${COMMAND.source}[^.]*)(${UNQUOTED.source})`).exec(shown);
  return found === null ? undefined : `${found[1]} is not quoted for the shell`;
}

describe('every remedy in the sources', () => {
  it('is found', () => {
    expect(sources.length).toBeGreaterThan(200);
    expect(remedies.length).toBeGreaterThan(150);
    const files = new Set(remedies.map(({ where }) => where.split('/').slice(0, 2).join('/')));
    for (const folder of ['apps/cli', 'apps/coordinator', 'libs/corpus', 'libs/checkpoint', 'libs/engines', 'libs/transport'])
      expect(files).toContain(folder);
  });

  it('writes to no file that may be the input', () => {
    expect(problemsOf(remedies, outputProblem)).toEqual([]);
  });

  it('quotes paths and names for the shell', () => {
    expect(problemsOf(remedies, quotingProblem)).toEqual([]);
  });

  it('names flags that exist', () => {
    const known = new Set([...flagsOf(program), '--install', ...FOREIGN_FLAGS]);
    const missing = (text: string) => flagsIn(text).find((flag) => !known.has(flag));
    expect(problemsOf(remedies, (text) => missing(text) && `there is no flag ${missing(text)}`)).toEqual([]);
  });

  it('names a checkpoint by its path, or says that there may be none', () => {
    const named = /\b(?:last|newest|earlier|best)(?: good)? checkpoints?\b/i;
    const isKnown = (text: string) => UNQUOTED.test(text) || /\bif\b/.test(text);
    expect(problemsOf(remedies, (text) => (named.test(text) && !isKnown(text) ? 'is there one' : undefined))).toEqual([]);
  });

  it('names npm scripts that exist', () => {
    const missing = (text: string) =>
      [...text.matchAll(/npm run ([\w:-]+)/g)].map(([, name]) => name).find((name) => !scripts.includes(name));
    expect(problemsOf(remedies, (text) => missing(text) && `there is no script ${missing(text)}`)).toEqual([]);
  });
});

describe('every text in the sources', () => {
  it('names commands that parse', () => {
    const texts = collectTexts(sources, /\btroupe [a-z]|program⟩ [a-z]/);
    expect(texts.flatMap(({ text }) => commandsIn(text)).length).toBeGreaterThan(20);
    expect(problemsOf(texts, (text) => commandsIn(text).map(commandProblem).find(Boolean))).toEqual([]);
  });
});

describe('every text for people in the sources', () => {
  it('leaves to one function what is typed in a clone and what in an installation', () => {
    const texts = collectTexts(sources, /\bnpm (?:run|start|ci|install|exec)\b/);
    const files = texts.map(({ where }) => where.split(':')[0]);
    expect([...new Set(files)]).toEqual(['libs/config/src/installation.ts']);
  });

  it('names flags that exist', () => {
    const known = new Set([...flagsOf(program), '--install', ...FOREIGN_FLAGS, '--json', '--local-workers', '--any-port']);
    const flag = /(?<![\w(-])--[a-z][a-z-]+(?= |$|[.,;:)])/;
    const texts = collectTexts(sources, flag).filter(({ text }) => text.includes(' '));
    expect(texts.length).toBeGreaterThan(100);
    const missing = (text: string) => flagsIn(text).find((each) => !known.has(each));
    expect(problemsOf(texts, (text) => missing(text) && `there is no flag ${missing(text)}`)).toEqual([]);
  });
});

describe('every command in the documentation', () => {
  const root = fileURLToPath(new URL('../../..', import.meta.url));
  const pages = ['.', 'docs', 'deploy'].flatMap((folder) =>
    readdirSync(path.join(root, folder))
      .filter((name) => name.endsWith('.md') && name !== 'CHANGELOG.md')
      .map((name) => path.join(folder, name)),
  );
  const lines = pages.flatMap((page) =>
    readFileSync(path.join(root, page), 'utf8')
      .replaceAll(/\\\n\s*/g, ' ')
      .split('\n')
      .map((text) => ({
        where: page,
        text: text
          .replaceAll('npm start -- ', 'troupe train ')
          .replaceAll('npm run troupe -- ', 'troupe ')
          .replaceAll(/[`|]/g, '"'),
      })),
  );

  it('parses', () => {
    expect(lines.flatMap(({ text }) => commandsIn(text)).length).toBeGreaterThan(20);
    const isName = ([first]: readonly string[]) => program.commands.some((command) => command.name() === first);
    // Prose speaks of Troupe too.
    const problem = (text: string) => commandsIn(text).filter(isName).map(commandProblem).find(Boolean);
    expect(problemsOf(lines, problem)).toEqual([]);
  });
});

describe('the checks of remedies', () => {
  it.each([
    ['iconv -f X -t UTF-8 corpus.txt > corpus.txt', 'the output is the input'],
    ['Shorten it: head -c 100 mine.txt > corpus.txt', 'the name of the output does not follow from the input'],
    ["Convert it: iconv -f X -t UTF-8 'a b.txt' > 'a b.txt.utf-8.txt'", undefined],
    ['Use a number > 3.', 'what writes to the file is no known command'],
  ])('judge the output of %j', (text, problem) => expect(outputProblem(text)).toBe(problem));

  it.each([
    ['Give its path: --corpus ⟨path⟩', '⟨path⟩ is not quoted for the shell'],
    ['Type troupe eval --checkpoint ⟨path⟩ now', '⟨path⟩ is not quoted for the shell'],
    ['Look at ⟨path⟩.', undefined],
    ["Give its path: --corpus 'a b'", undefined],
  ])('judge the quoting of %j', (text, problem) => expect(quotingProblem(text)).toBe(problem));

  it.each([
    ['troupe smple --checkpoint x', 'there is no command smple'],
    ['troupe corpus fetch --digest x', 'corpus has no flag --digest'],
    ['troupe corpus fetch book --sha256 0123', undefined],
    ["troupe train --resume --out 'a b'", undefined],
  ])('judge the command %j', (text, problem) => expect(commandProblem(commandsIn(text)[0])).toBe(problem));
});
