import { dirname } from 'node:path';
import { Option, type Command } from 'commander';
import { CheckpointError, type Checkpoint } from '@troupe/checkpoint';
import { readRunFile } from '@troupe/checkpoint/node';
import {
  CorpusError,
  createVocabulary,
  knownForm,
  splitCorpus,
  translateTokens,
  type CorpusSplit,
  type Tokens,
  type Vocabulary,
} from '@troupe/corpus';
import type { Corpus } from '@troupe/corpus/node';
import type { EngineChoice } from '@troupe/engines';
import {
  evaluateBlocks,
  evaluateDynamically,
  evaluateLoss,
  gradientSizes,
  type Engine,
  type EngineLimits,
  type EvaluationReport,
  type ModelConfig,
} from '@troupe/model';
import { openCheckpoint } from '../checkpoints.js';
import { openCorpus } from '../corpora.js';
import { CliError } from '../errors.js';
import type { Shell } from '../shell.js';
import { Screen } from '../terminal/screen.js';
import { renderBar } from '../terminal/status.js';
import { compactCount, counted, groupedCount, styleFor } from '../terminal/style.js';
import { shownPath } from '../terminal/report.js';
import { checkpointOption } from './sample.js';
import { afterwards, encodingOption, engineOption, examples, realNumber, wholeNumber } from './flags.js';

/** Time steps per engine call. It affects the result only through rounding. */
const WINDOW = 128;
/** With several lanes: characters that each lane reads before it counts. */
const WARMUP = 256;

const PROTOCOLS = ['carried', 'blocks', 'dynamic'] as const;
type Protocol = (typeof PROTOCOLS)[number];
/** Characters of a block: the context of nanoGPT's character model. */
const BLOCK = 256;
/** Blocks per engine call. It affects the result only through rounding. */
const BLOCKS = 16;
/** Of dynamic evaluation; docs/quality.md says how they were chosen. */
const DYNAMIC = { segment: 32, rate: 0.001, decay: 0.005 };
/** Segments of the training part that say how large gradients usually are. */
const SIZED_SEGMENTS = 500;

interface EvalFlags {
  readonly checkpoint?: string;
  readonly corpus?: string;
  readonly encoding?: string;
  readonly protocol: Protocol;
  readonly lanes: number;
  readonly segment: number;
  readonly rate: number;
  readonly decay: number;
  readonly engine: EngineChoice;
  readonly json?: true;
}

export function defineEval(program: Command, shell: Shell): void {
  program
    .command('eval')
    .summary('measure the validation loss of a trained model')
    .description(
      'Measures how well the model of a checkpoint predicts the validation part of a corpus (its last tenth): the mean negative ' +
        'log-likelihood of each character given all characters before it. The hidden state is carried through the whole part, unless ' +
        '--protocol says otherwise.',
    )
    .addOption(checkpointOption())
    .addOption(
      new Option(
        '--corpus <C>',
        'name of a corpus, or path of a text file or of a folder of them (default: the text that the model was trained on)',
      ).helpGroup('Data:'),
    )
    .addOption(encodingOption())
    .addOption(
      new Option(
        '--protocol <NAME>',
        `carried: the state through the whole part; blocks: ${BLOCK} characters at a time, each from a state of zeros, as nanoGPT ` +
          'measures; dynamic: the model learns from what it has been measured on',
      )
        .choices(PROTOCOLS)
        .default('carried')
        .helpGroup('Protocol:'),
    )
    .addOption(
      new Option('--segment <N>', 'dynamic: characters after which the model learns')
        .argParser(wholeNumber(1, 1024))
        .default(DYNAMIC.segment)
        .helpGroup('Protocol:'),
    )
    .addOption(
      new Option('--rate <X>', 'dynamic: learning rate')
        .argParser(realNumber(0, 100))
        .default(DYNAMIC.rate)
        .helpGroup('Protocol:'),
    )
    .addOption(
      new Option('--decay <X>', 'dynamic: the part of the way back to the trained parameters that each step takes')
        .argParser(realNumber(0, 1))
        .default(DYNAMIC.decay)
        .helpGroup('Protocol:'),
    )
    .addOption(
      new Option(
        '--lanes <N>',
        'carried: parts to measure in parallel: faster, but only 1 is exact, because later parts start after a short warm-up',
      )
        .argParser(wholeNumber(1, 1024))
        .default(1)
        .helpGroup('Protocol:'),
    )
    .addOption(engineOption('wasm', 'the last digits of the loss may depend on the engine'))
    .addOption(
      new Option('--json', 'print one JSON object: lossPerChar in nats, bitsPerChar, perplexity, tokens, ...').helpGroup(
        'Output:',
      ),
    )
    .addHelpText(
      'after',
      examples(
        [`${shell.program} eval`, 'measure the best checkpoint of the newest run on its own corpus'],
        [`${shell.program} eval --checkpoint runs/001/best.safetensors --corpus sonnets --json`, 'print the figures as JSON'],
        [`${shell.program} eval --checkpoint runs/002 --corpus tiny-shakespeare --lanes 8`, 'faster, with nearly the same loss'],
      ) + afterwards(`${shell.program} sample         read what it writes`, `${shell.program} train --resume train it longer`),
    )
    .action((flags: EvalFlags, command: Command) => {
      checkFlags(flags, (name) => command.getOptionValueSource(name) === 'cli');
      return evaluate(shell, flags);
    });
}

/** The flags of a protocol alone. */
const OWN_FLAGS: readonly (readonly [name: keyof EvalFlags, protocol: Protocol])[] = [
  ['lanes', 'carried'],
  ['segment', 'dynamic'],
  ['rate', 'dynamic'],
  ['decay', 'dynamic'],
];

/** @throws CliError */
function checkFlags({ protocol }: EvalFlags, isGiven: (name: string) => boolean): void {
  const idle = OWN_FLAGS.find(([name, own]) => own !== protocol && isGiven(name));
  if (idle === undefined) return;
  const [name, own] = idle;
  throw new CliError(
    'usage',
    `--${name} has no effect with --protocol ${protocol}.`,
    `Leave --${name} out: it belongs to the protocol ${own}.`,
  );
}

async function evaluate(shell: Shell, flags: EvalFlags): Promise<void> {
  const { path, checkpoint } = await openCheckpoint(shell, flags.checkpoint);
  const corpus = await corpusFor(shell, path, checkpoint, flags);
  const ids = idsOf(corpus, createVocabulary(checkpoint.vocabulary));
  const { train, validation } = splitCorpus(ids, checkpoint.corpus.trainFraction);
  const startedAt = shell.now();
  const { lossPerChar, tokens, engine } = await measure(shell, checkpoint, { train, validation }, flags);
  const seconds = (shell.now() - startedAt) / 1000;
  const result = {
    checkpoint: path,
    round: checkpoint.round,
    /** The model is the moving average of the parameters. */
    averaged: checkpoint.averaged === true,
    corpus: corpus.name,
    corpusSha256: corpus.sha256,
    /**
     * False if the text differs from the training text, so its last tenth is not the run's
     * validation part.
     */
    trainedOn: corpus.sha256 === checkpoint.corpus.sha256,
    lossPerChar,
    bitsPerChar: lossPerChar / Math.LN2,
    perplexity: Math.exp(lossPerChar),
    tokens,
    ...settingsOf(flags),
    engine,
    seconds,
    charsPerSecond: tokens / seconds,
  };
  shell.stdout.write(flags.json ? `${JSON.stringify(result)}\n` : describe(shell, result));
}

/**
 * The corpus of --corpus, or the text that the model was trained on. The run's folder says where that
 * is; a checkpoint of an older release holds its path as a name.
 * @throws CliError, CorpusError
 */
async function corpusFor(shell: Shell, file: string, { corpus: trained }: Checkpoint, flags: EvalFlags): Promise<Corpus> {
  if (flags.corpus !== undefined) return openCorpus(shell, flags.corpus, flags);
  const run = await flagsBeside(file);
  const encoding = flags.encoding ?? run.get('--encoding');
  const corpus = await openCorpus(shell, run.get('--corpus') ?? trained.name, { encoding }).catch((error: unknown) => {
    if (error instanceof CorpusError && error.code === 'not_found') return undefined;
    throw error;
  });
  if (corpus?.sha256 === trained.sha256) return corpus;
  throw new CliError(
    'no_corpus',
    `The text that the model was trained on, ${trained.name}, is not where it was, or has changed.`,
    'Say where it is with --corpus PATH, or name another text to measure on.',
  );
}

/** The flags of the run that a checkpoint is from. A resume reports why they are unreadable; to measure, the checkpoint is enough. */
async function flagsBeside(file: string): Promise<ReadonlyMap<string, string>> {
  try {
    return await readRunFile(dirname(file));
  } catch (error) {
    if (error instanceof CheckpointError) return new Map();
    throw error;
  }
}

/** Accents count as known in either form, composed or decomposed. @throws CorpusError `unknown_character` */
function idsOf({ tokens, vocabulary: own }: Corpus, vocabulary: Vocabulary): Tokens {
  try {
    return translateTokens(tokens, own, vocabulary);
  } catch (error) {
    const text = own.decode(tokens);
    const form = knownForm(vocabulary, text);
    if (form === text) throw error;
    return vocabulary.encode(form);
  }
}

type Measured = { lossPerChar: number; tokens: number; engine: string };

/** The protocol and what its figure depends on. */
function settingsOf({ protocol, lanes, segment, rate, decay }: EvalFlags) {
  if (protocol === 'blocks') return { protocol, block: BLOCK };
  return protocol === 'dynamic' ? { protocol, segment, rate, decay } : { protocol, lanes };
}

type Parts = Pick<CorpusSplit, 'train' | 'validation'>;

interface Plan {
  readonly limits: EngineLimits;
  run(engine: Engine, { train, validation }: Parts, onProgress: (done: number) => void): Promise<EvaluationReport>;
}

/** `model` is without dropout. */
function planOf(model: ModelConfig, parameters: Float32Array, { protocol, lanes, ...dynamic }: EvalFlags): Plan {
  switch (protocol) {
    case 'carried':
      return {
        limits: { maxStreams: lanes, maxWindow: WINDOW },
        run: (engine, { validation }, onProgress) => {
          return evaluateLoss(engine, model, validation, { window: WINDOW, lanes, warmup: WARMUP, onProgress });
        },
      };
    case 'blocks':
      return {
        limits: { maxStreams: BLOCKS, maxWindow: BLOCK },
        run: (engine, { validation }, onProgress) => evaluateBlocks(engine, model, validation, { block: BLOCK, onProgress }),
      };
    case 'dynamic':
      return {
        limits: { maxStreams: 1, maxWindow: dynamic.segment },
        run: async (engine, { train, validation }, onProgress) => {
          const { segment, rate, decay } = dynamic;
          const start = Uint16Array.from(train.subarray(0, SIZED_SEGMENTS * segment + 1));
          const sizes = await gradientSizes(engine, model, start, { segment, segments: SIZED_SEGMENTS });
          return evaluateDynamically(engine, model, parameters, validation, { segment, rate, decay, sizes, onProgress });
        },
      };
    default:
      return protocol satisfies never;
  }
}

async function measure(
  shell: Shell,
  { model: trained, parameters }: Checkpoint,
  parts: Parts,
  flags: EvalFlags,
): Promise<Measured> {
  const style = styleFor(shell.stderr, shell.env);
  const total = parts.validation.length - 1;
  let done = 0;
  const line = (width: number) => renderBar(done, total, `${groupedCount(done)} of ${counted(total, 'character')}`, width, style);
  const screen = new Screen(shell.stderr, { line, quiet: shell.stderr.isTTY !== true });
  const { openSteadyEngine } = await import('../engine.js');
  const model = { ...trained, dropout: 0, dropoutOutput: 0 };
  const { limits, run } = planOf(model, parameters, flags);
  const engine = await openSteadyEngine(flags.engine, model, limits);
  try {
    engine.setParameters(parameters);
    const report = await run(engine, parts, (characters) => (done = characters));
    return { ...report, engine: `${engine.info.name} ${engine.info.variant}` };
  } finally {
    engine.dispose();
    screen.close();
  }
}

interface Shown extends Measured {
  readonly checkpoint: string;
  readonly round: number;
  readonly averaged: boolean;
  readonly protocol: Protocol;
  readonly corpus: string;
  readonly trainedOn: boolean;
  readonly bitsPerChar: number;
  readonly perplexity: number;
  readonly charsPerSecond: number;
}

const HOW: Readonly<Record<Protocol, string>> = {
  carried: '',
  blocks: `in blocks of ${BLOCK}, each from a state of zeros`,
  dynamic: 'the model learned from each segment after it was measured',
};

function describe(shell: Shell, shown: Shown): string {
  const style = styleFor(shell.stdout, shell.env);
  const { checkpoint, round, averaged, corpus, trainedOn, lossPerChar, bitsPerChar, perplexity, tokens, charsPerSecond, engine } =
    shown;
  const field = (label: string, text: string) => `  ${style('dim', label.padEnd(12))}${text}\n`;
  return (
    style('bold', `${lossPerChar.toFixed(4)} nats/char\n`) +
    field('as', `${bitsPerChar.toFixed(4)} bits/char, perplexity ${perplexity.toFixed(3)}`) +
    field('of', `the validation part of ${corpus}: ${counted(tokens, 'character')}`) +
    (HOW[shown.protocol] === '' ? '' : field('', HOW[shown.protocol])) +
    (trainedOn ? '' : field('', 'the model was trained on another text')) +
    field('by', `${shownPath(checkpoint)}, round ${round}${averaged ? ', averaged parameters' : ''}`) +
    field('in', `${compactCount(charsPerSecond)} chars/s, ${engine}`)
  );
}
