import os from 'node:os';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { CELL_NAMES, CELLS, type Cell } from '@troupe/config';
import type { EngineChoice } from '@troupe/engines';
import { CELL_SHAPES, createLayout, createRandom, initialParameters, stateSize, type Engine } from '@troupe/model';
import type { Shell } from '../shell.js';
import { compactCount, counted, styleFor } from '../terminal/style.js';
import { afterwards, checkThreads, engineOption, examples, realNumber, threadsOption } from './flags.js';

/** V of tiny-shakespeare, a common benchmark. */
const VOCABULARY = 65;
/** Unmeasured steps at the start, while kernels are compiled and tuned. */
const WARMUP_STEPS = 2;
const MIN_STEPS = 5;

/** L layers, H hidden units, B streams, T time steps. */
interface BenchSize {
  readonly layers: number;
  readonly hidden: number;
  readonly batch: number;
  readonly window: number;
}

interface BenchConfig extends BenchSize {
  readonly cell: Cell;
}

interface BenchFlags {
  readonly config?: readonly BenchSize[];
  readonly cell: Cell;
  readonly seconds: number;
  readonly engine: EngineChoice;
  readonly threads: number;
  readonly json?: true;
}

interface BenchResult extends BenchConfig {
  readonly engine: string;
  readonly steps: number;
  /** Median. */
  readonly stepMs: number;
  readonly charsPerSecond: number;
  readonly gflops: number;
}

const USUAL: readonly BenchSize[] = [
  { layers: 1, hidden: 128, batch: 32, window: 64 },
  { layers: 2, hidden: 256, batch: 32, window: 64 },
];

export function defineBench(program: Command, shell: Shell): void {
  program
    .command('bench')
    .summary('measure how fast this machine computes gradients')
    .description(
      'Measures forward and backward passes of an engine on this machine, without network and optimizer: the median of the steps in a ' +
        `few seconds, with a vocabulary of ${VOCABULARY}. Other work on the machine lowers the figures.`,
    )
    .addOption(
      new Option(
        '--config <LxH,B,T>',
        'layers x hidden units, streams, time steps; may be repeated (default: 1x128,32,64 and 2x256,32,64)',
      )
        .argParser(collectConfig)
        .helpGroup('What:'),
    )
    .addOption(new Option('--cell <CELL>', 'recurrent cell').choices(CELLS).default('lstm').helpGroup('What:'))
    .addOption(
      new Option('--seconds <S>', 'measuring time of each size').argParser(realNumber(0, 3600)).default(4).helpGroup('What:'),
    )
    .addOption(engineOption('auto', 'auto measures briefly which is fastest at each size'))
    .addOption(threadsOption('threads of the engine; 1 = one core').default(1))
    .addOption(new Option('--json', 'print one JSON object with all figures and the machine').helpGroup('Output:'))
    .addHelpText(
      'after',
      examples(
        [`${shell.program} bench`, 'the two default sizes'],
        [`${shell.program} bench --config 2x512,64,64 --config 3x512,50,50 --seconds 10`, 'larger sizes'],
        [`${shell.program} bench --cell gru`, 'the default sizes with another cell'],
        [`${shell.program} bench --engine wasm --threads 2`, 'another engine, on two cores'],
        [`${shell.program} bench --json`, 'the figures as JSON'],
      ) +
        afterwards(
          `${shell.program} doctor                         all engines of this machine`,
          `${shell.program} train --layers 2 --hidden 256   train a model of the second size`,
        ),
    )
    .action((flags: BenchFlags) => bench(shell, flags));
}

function collectConfig(text: string, before: BenchSize[] | undefined): BenchSize[] {
  const match = /^(\d{1,2})x(\d{1,5}),(\d{1,5}),(\d{1,4})$/.exec(text);
  const [layers, hidden, batch, window] = (match ?? []).slice(1).map(Number);
  if (match === null || layers * hidden * batch * window === 0)
    throw new InvalidArgumentError('It should look like 2x256,32,64: layers x hidden units, streams, time steps.');
  return [...(before ?? []), { layers, hidden, batch, window }];
}

async function bench(shell: Shell, flags: BenchFlags): Promise<void> {
  checkThreads(flags);
  const style = styleFor(shell.stdout, shell.env);
  const machine = { cpu: os.cpus()[0]?.model ?? 'unknown', cores: os.availableParallelism(), node: process.version };
  if (!flags.json)
    shell.stdout.write(
      `${style('dim', `${machine.cpu}, ${machine.cores} cores, Node ${machine.node}; ${counted(flags.threads, 'core')} in use, ${CELL_NAMES[flags.cell]}`)}\n`,
    );
  const results: BenchResult[] = [];
  for (const size of flags.config ?? USUAL) {
    const result = await measure(shell, { ...size, cell: flags.cell }, flags);
    results.push(result);
    if (!flags.json) shell.stdout.write(`${describe(result)}\n`);
  }
  if (flags.json) shell.stdout.write(`${JSON.stringify({ ...machine, vocabulary: VOCABULARY, results })}\n`);
}

function describe({ layers, hidden, batch, window, charsPerSecond, gflops, stepMs, steps, engine }: BenchResult): string {
  const size = `${layers}x${hidden} B=${batch} T=${window}`.padEnd(20);
  return `${size} ${compactCount(charsPerSecond).padStart(7)} chars/s ${gflops.toFixed(1).padStart(6)} GFLOP/s  ${stepMs.toFixed(1)} ms a step, median of ${steps}  ${engine}`;
}

async function measure(
  shell: Shell,
  config: BenchConfig,
  { engine: choice, threads, seconds }: BenchFlags,
): Promise<BenchResult> {
  const { cell, layers, hidden, batch, window } = config;
  const model = { cell, layers, hidden, vocabulary: VOCABULARY };
  const { openFastEngine } = await import('../engine.js');
  const engine = await openFastEngine(choice, model, { maxStreams: batch, maxWindow: window }, { threads, log: () => {} });
  try {
    engine.setParameters(initialParameters(model, createLayout(model), 1));
    const times = await timeSteps(shell, engine, config, seconds * 1000);
    const stepMs = times.sort((a, b) => a - b)[Math.floor(times.length / 2)];
    const characters = batch * window;
    return {
      ...config,
      engine: `${engine.info.name} ${engine.info.variant}`,
      steps: times.length,
      stepMs,
      charsPerSecond: (characters / stepMs) * 1000,
      gflops: flops(config) / stepMs / 1e6,
    };
  } finally {
    engine.dispose();
  }
}

async function timeSteps(shell: Shell, engine: Engine, config: BenchConfig, durationMs: number): Promise<number[]> {
  const { cell, layers, hidden, batch: streams, window } = config;
  const random = createRandom(1);
  const batch = {
    streams,
    window,
    tokens: Uint16Array.from({ length: streams * (window + 1) }, () => random.uint32() % VOCABULARY),
    states: new Float32Array(streams * stateSize({ cell, layers, hidden })),
  };
  for (let i = 0; i < WARMUP_STEPS; i++) await engine.gradient(batch);
  const times: number[] = [];
  const endAt = shell.now() + durationMs;
  while (times.length < MIN_STEPS || shell.now() < endAt) {
    const startedAt = shell.now();
    await engine.gradient(batch);
    times.push(shell.now() - startedAt);
  }
  return times;
}

/**
 * Multiplications and additions in the matrix products of a step, forward and backward. The one-hot
 * input costs none.
 */
function flops({ cell, layers: L, hidden: H, batch: B, window: T }: BenchConfig): number {
  const G = CELL_SHAPES[cell].gates * H;
  return 6 * B * T * (G * H * (2 * L - 1) + H * VOCABULARY);
}
