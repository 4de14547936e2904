import { Option, type Command } from 'commander';
import type { Checkpoint } from '@troupe/checkpoint';
import { CorpusError, createVocabulary, encodePrime, type Prime, type Vocabulary } from '@troupe/corpus';
import type { EngineChoice } from '@troupe/engines';
import { roundedTo, type Precision } from '@troupe/export';
import { createRandom, sample } from '@troupe/model';
import { printableLines } from '@troupe/protocol';
import { CliError } from '../errors.js';
import { openCheckpoint } from '../checkpoints.js';
import type { Shell } from '../shell.js';
import { styleFor } from '../terminal/style.js';
import { afterwards, engineOption, examples, precisionOption, realNumber, wholeNumber } from './flags.js';

interface SampleFlags {
  readonly checkpoint?: string;
  readonly length: number;
  readonly temperature: number;
  readonly topK: number;
  readonly prime?: string;
  readonly skipUnknown?: boolean;
  readonly seed: number;
  readonly engine: EngineChoice;
  readonly precision: Precision;
  readonly json?: true;
}

export function defineSample(program: Command, shell: Shell): void {
  program
    .command('sample')
    .summary('write text with a trained model')
    .description(
      'Writes text with the model of a checkpoint, one character at a time. The same flags and seed give the same text.',
    )
    .addOption(checkpointOption())
    .addOption(
      new Option('--length <N>', 'characters to write').argParser(wholeNumber(1, 10_000_000)).default(500).helpGroup('Text:'),
    )
    .addOption(
      new Option('--temperature <X>', 'randomness: below 1 is safer, above 1 is wilder; 0 always takes the most likely character')
        .argParser(realNumber(0, 100))
        .default(0.8)
        .helpGroup('Text:'),
    )
    .addOption(
      new Option('--top-k <K>', 'choose only among the K most likely characters; 0 = among all')
        .argParser(wholeNumber(0, 65_536))
        .default(0)
        .helpGroup('Text:'),
    )
    .addOption(new Option('--prime <TEXT>', 'start of the text (default: a line break)').helpGroup('Text:'))
    .addOption(
      new Option('--skip-unknown', 'leave out characters of --prime that the model does not know, and say which').helpGroup(
        'Text:',
      ),
    )
    .addOption(
      new Option('--seed <S>', 'seed of the random choices').argParser(wholeNumber(0, 0xffffffff)).default(1).helpGroup('Text:'),
    )
    .addOption(engineOption('wasm', 'another engine may round differently and write another text'))
    .addOption(
      precisionOption('float32', 'number format of the weights; float16 rounds them as export --web does').helpGroup('Engine:'),
    )
    .addOption(new Option('--json', 'print one JSON object with the text and the settings at the end').helpGroup('Output:'))
    .addHelpText(
      'after',
      examples(
        [`${shell.program} sample`, 'use the best checkpoint of the newest run in runs/'],
        [
          `${shell.program} sample --checkpoint runs/001 --prime "Shall I " --length 2000`,
          'use the best checkpoint of one run, and continue two given words',
        ],
        [`${shell.program} sample --temperature 0.5 --top-k 10 --seed 7`, 'safer choices, and another text'],
      ) + afterwards(`${shell.program} eval           measure the model`, `${shell.program} train --resume train it longer`),
    )
    .action((flags: SampleFlags) => writeSample(shell, flags));
}

/** `--checkpoint`, for every command that reads a checkpoint. */
export function checkpointOption(): Option {
  return new Option(
    '--checkpoint <F>',
    'a checkpoint file, or the folder of a run for its best checkpoint (default: the newest run in runs/)',
  ).helpGroup('Model:');
}

async function writeSample(shell: Shell, flags: SampleFlags): Promise<void> {
  const { path, checkpoint } = await openCheckpoint(shell, flags.checkpoint);
  const vocabulary = createVocabulary(checkpoint.vocabulary);
  const prime = primeFor(vocabulary, flags);
  noteSkipped(shell, prime);
  const given = flags.prime === undefined ? '' : prime.text;
  // A terminal gets no characters that could control it. A file or pipe gets the text unchanged.
  const shown = shell.stdout.isTTY === true ? printableLines : (text: string) => text;
  if (!flags.json) shell.stdout.write(shown(given));
  let text = given;
  for await (const id of drawnIds(checkpoint, prime.ids, flags)) {
    if (shell.unread.aborted) return;
    const character = vocabulary.characters[id];
    text += character;
    if (!flags.json) shell.stdout.write(shown(character));
  }
  if (flags.json) {
    const { length, temperature, topK, seed } = flags;
    shell.stdout.write(
      `${JSON.stringify({ checkpoint: path, round: checkpoint.round, length, temperature, topK, seed, text })}\n`,
    );
  } else {
    shell.stdout.write('\n');
  }
}

async function* drawnIds(checkpoint: Checkpoint, prime: Uint16Array, flags: SampleFlags): AsyncGenerator<number> {
  const { length, temperature, topK, seed } = flags;
  const parameters = roundedTo(flags.precision, checkpoint.parameters);
  // Imported here, so that the help of a command need not load the kernels.
  const { openPortableEngine } = await import('../engine.js');
  const engine = await openPortableEngine(flags.engine, checkpoint.model, { maxStreams: 1, maxWindow: 1 });
  try {
    engine.setParameters(parameters);
    yield* sample(engine, checkpoint.model, { prime, length, temperature, topK, random: createRandom(seed) });
  } finally {
    engine.dispose();
  }
}

function noteSkipped(shell: Shell, { skipped }: Prime): void {
  if (skipped.length === 0) return;
  const note = styleFor(shell.stderr, shell.env)('yellow', 'note:');
  const characters = skipped.map((character) => JSON.stringify(character)).join(', ');
  shell.stderr.write(`${note} the model does not know ${characters}; left out of the prime\n`);
}

/** @throws CliError for an empty prime, CorpusError for characters that the model does not know */
function primeFor(vocabulary: Vocabulary, { prime, skipUnknown = false }: SampleFlags): Prime {
  if (prime === '') throw new CliError('usage', '--prime is empty.', 'Give at least one character, or leave --prime out.');
  try {
    return encodePrime(vocabulary, prime ?? '', skipUnknown);
  } catch (error) {
    if (!(error instanceof CorpusError) || skipUnknown) throw error;
    throw new CorpusError(error.code, error.message, `${error.remedy} Or add --skip-unknown to leave the others out.`, {
      cause: error,
    });
  }
}
