import { Option, type Command } from 'commander';
import { splitCorpus } from '@troupe/corpus';
import { CATALOGUE, type Corpus } from '@troupe/corpus/node';
import { openCorpus } from '../corpora.js';
import { CliError } from '../errors.js';
import type { Shell } from '../shell.js';
import { counted, groupedCount, styleFor } from '../terminal/style.js';
import { afterwards, encodingOption, examples } from './flags.js';

interface JsonFlag {
  readonly json?: true;
}

const jsonOption = () => new Option('--json', 'print one JSON object').helpGroup('Output:');

export function defineCorpus(program: Command, shell: Shell): void {
  const command = program
    .command('corpus')
    .summary('list, fetch and describe texts to train on')
    .description(
      'Lists the named corpora, fetches those that Troupe does not include, and describes a corpus. The path of any text file or of a ' +
        'folder of text files is a corpus too. Troupe looks in the folder TROUPE_CORPUS_DIR before it uses the network.',
    )
    .addHelpText(
      'after',
      examples(
        [`${shell.program} corpus list`, 'list the named corpora'],
        [`${shell.program} corpus fetch tiny-shakespeare`, 'download it once and check its SHA-256'],
        [`${shell.program} corpus info notes.txt`, 'show characters, vocabulary and split of your own file'],
      ) + afterwards(`${shell.program} train --corpus NAME-OR-PATH`),
    );
  command
    .command('list')
    .description('Lists the named corpora.')
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples([`${shell.program} corpus list --json`, 'print the list as JSON']) +
        afterwards(`${shell.program} corpus fetch NAME`),
    )
    .action((flags: JsonFlag) => list(shell, flags));
  command
    .command('fetch')
    .description('Downloads a corpus into the cache, unless it is already there, and checks its SHA-256.')
    .argument('<name>', 'a name from troupe corpus list')
    .addOption(
      new Option(
        '--sha256 <HEX>',
        'accept the file with this SHA-256, for a corpus whose publisher changes it now and then',
      ).helpGroup('Data:'),
    )
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples([`${shell.program} corpus fetch tiny-shakespeare`, 'fetch 1.1 MB']) +
        afterwards(`${shell.program} train --corpus tiny-shakespeare`),
    )
    .action((name: string, flags: JsonFlag & { sha256?: string }) => fetchCorpus(shell, name, flags));
  command
    .command('info')
    .description('Shows how many characters and distinct characters a corpus has, and how it is split.')
    .argument('<name-or-path>', 'a name from troupe corpus list, or the path of a text file or of a folder of them')
    .addOption(encodingOption())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples(
        [`${shell.program} corpus info sonnets`, 'describe the built-in corpus'],
        [`${shell.program} corpus info notes.txt --json`, 'describe your own file as JSON'],
      ) + afterwards(`${shell.program} train --corpus NAME-OR-PATH`),
    )
    .action(async (name: string, flags: JsonFlag & { encoding?: string }) =>
      showCorpus(shell, await openCorpus(shell, name, flags), flags),
    );
}

function list(shell: Shell, { json }: JsonFlag): void {
  if (json) {
    const corpora = CATALOGUE.map(({ name, title, licence, url, bytes, sha256 }) => ({
      name,
      title,
      licence,
      url,
      bytes,
      sha256,
    }));
    shell.stdout.write(`${JSON.stringify({ corpora })}\n`);
    return;
  }
  const style = styleFor(shell.stdout, shell.env);
  for (const { name, title, licence, url, bytes } of CATALOGUE) {
    const size = bytes === undefined ? '' : `, ${groupedCount(bytes)} bytes`;
    const origin = url === undefined ? 'built in' : `fetched from ${new URL(url).host}${size}`;
    shell.stdout.write(`${style('bold', name)}\n  ${title}\n  ${style('dim', `${licence}; ${origin}`)}\n`);
  }
}

async function fetchCorpus(shell: Shell, name: string, flags: JsonFlag & { sha256?: string }): Promise<void> {
  if (!CATALOGUE.some((entry) => entry.name === name)) {
    const names = CATALOGUE.map((entry) => entry.name).join(', ');
    throw new CliError(
      'usage',
      `There is no corpus named ${name}.`,
      `The names are ${names}. For your own file, give its path: --corpus PATH.`,
    );
  }
  showCorpus(shell, await openCorpus(shell, name, flags), flags);
}

function showCorpus(shell: Shell, corpus: Corpus, { json }: JsonFlag): void {
  const { name, vocabulary, tokens, sha256, source, files, skipped } = corpus;
  const { train, validation } = splitCorpus(tokens);
  if (json) {
    const counts = { characters: tokens.length, train: train.length, validation: validation.length, vocabulary: vocabulary.size };
    shell.stdout.write(`${JSON.stringify({ name, ...counts, sha256, source, files, skipped })}\n`);
    return;
  }
  const style = styleFor(shell.stdout, shell.env);
  const field = (label: string, text: string) => `  ${style('dim', label.padEnd(12))}${text}\n`;
  shell.stdout.write(
    `${style('bold', name)}\n` +
      field(
        'text',
        `${counted(tokens.length, 'character')}: ${groupedCount(train.length)} to train on, ${groupedCount(validation.length)} for validation`,
      ) +
      field(
        'vocabulary',
        `${counted(vocabulary.size, 'character')}: ${JSON.stringify(vocabulary.characters.slice(0, 120).join(''))}`,
      ) +
      field('sha256', sha256) +
      field('from', `${source.path} (${source.kind}${files === 1 ? '' : `, ${counted(files, 'file')}`})`),
  );
}
