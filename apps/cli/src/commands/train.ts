import { Option, type Command } from 'commander';
import type { EngineChoice } from '@troupe/engines';
import { EXIT, missingLines } from '@troupe/process';
import { printableLines } from '@troupe/protocol';
import { isWarnedOf, type RunEvent } from '@troupe/run';
import { describeLocalWorkers, localWorkerArguments, planLocalWorkers, USUAL_MOST_WORKERS } from '../local-workers.js';
import { describeRecipes, LIST, recipeOf, recipeOption, withRecipe } from '../recipes.js';
import type { Shell } from '../shell.js';
import { writeComplaint } from '../terminal/complaint.js';
import {
  describeEnd,
  describeNote,
  describeServing,
  describeStart,
  describeWorker,
  frameSample,
  shownPath,
} from '../terminal/report.js';
import { Screen } from '../terminal/screen.js';
import { createTrace } from '../terminal/sparkline.js';
import { advance, initialProgress, renderLogLine, renderStatus, type Progress } from '../terminal/status.js';
import { canRedraw, styleFor, type Style } from '../terminal/style.js';
import { trainLocally, type LocalTrainingOptions, type TrainingOutcome } from '../training.js';
import {
  addRunOptions,
  afterwards,
  checkThreads,
  engineOption,
  examples,
  runArguments,
  threadsOption,
  wholeNumber,
} from './flags.js';
import { environmentWithSecrets, SECRET_FLAGS } from './secrets.js';

const MAX_WORKERS = 64;
const USUAL_WORKERS =
  `1, with threads; a reproducible run, --threads and engines that take one thread: as many as fill the cores, at most ` +
  `${USUAL_MOST_WORKERS}`;
const USUAL_THREADS = 'one per core; 1 with --workers and in a reproducible run';

interface TrainFlags {
  /** Absent: a number that suits the machine and the engine. */
  readonly workers?: number;
  readonly engine: EngineChoice;
  /** Absent: as many as are fastest. */
  readonly threads?: number;
  readonly recipe?: string;
  readonly reducers?: string;
  readonly corpus?: string;
  readonly json?: true;
  readonly quiet?: true;
  readonly keepServing?: true;
  readonly exitWhenDone?: true;
}

export function defineTrain(program: Command, shell: Shell, ended: (exitCode: number) => void): void {
  const command = program
    .command('train')
    .summary('train a model on this machine; others may join')
    .description(
      'Trains a character-level recurrent network: starts a coordinator and worker processes on this machine, shows the progress and ' +
        'writes checkpoints. Ctrl-C saves and stops; the same command with --resume continues.',
    );
  addRunOptions(command, { '--port': '0' })
    .addOption(recipeOption('without flags about text, model and training: quick'))
    .addOption(
      new Option('--workers <W>', `worker processes on this machine, 1 to ${MAX_WORKERS} (default: ${USUAL_WORKERS})`)
        .argParser(wholeNumber(1, MAX_WORKERS))
        .helpGroup('Run:'),
    )
    .addOption(
      engineOption('auto', 'auto measures briefly which is fastest here; with auto and tfjs only the first worker may use a GPU'),
    )
    .addOption(threadsOption(`engine threads of each worker, which share its streams (default: ${USUAL_THREADS})`))
    .addOption(new Option('--json', 'print every event of the run as one line of JSON, and nothing else').helpGroup('Output:'))
    .addOption(new Option('--quiet', 'print only warnings, errors and the end').helpGroup('Output:'))
    .addHelpText('after', helpAfter(shell.program))
    .action(async (flags: TrainFlags) => ended(await train(shell, command, flags)));
}

function helpAfter(program: string): string {
  return (
    examples(
      [`${program} train`, 'train for two minutes on the built-in sonnets: the recipe quick'],
      [`${program} train --recipe shakespeare-good`, 'a good model of tiny-shakespeare, which is fetched once'],
      [
        `${program} train --corpus tiny-shakespeare --layers 2 --hidden 256 --rounds 4000`,
        'a better model of a larger text, which is fetched once',
      ],
      [
        `${program} train --corpus notes.txt --workers 2 --out runs/notes`,
        'your own text, two worker processes, checkpoints in runs/notes',
      ],
      [`${program} train --engine webgpu --hidden 1024`, 'train on the GPU'],
      [`${program} train --host 0.0.0.0 --port 7070`, 'let other machines join, with the command that it prints'],
    ) +
    afterwards(
      `${program} sample         write text with the result`,
      `${program} eval           measure it on the validation part of a corpus`,
      `${program} train --resume continue, or train longer with more --rounds`,
    )
  );
}

/** Resolves with the exit code. */
async function train(shell: Shell, command: Command, flags: TrainFlags): Promise<number> {
  if (flags.recipe === LIST) {
    shell.stdout.write(describeRecipes(shell.program));
    return EXIT.ok;
  }
  checkThreads({ threads: 1, ...flags });
  const staysOpen = staysOpenAfterwards(shell, flags);
  const env = environmentWithSecrets(shell, command);
  const given = runArguments(command, SECRET_FLAGS);
  const name = recipeOf(flags.recipe, given);
  const recipe = name === undefined ? undefined : withRecipe(name, given);
  const options: RunOptions = {
    coordinatorArgs: [
      ...(recipe?.args ?? given),
      ...(staysOpen && !flags.keepServing ? ['--linger'] : []),
      ...['--any-port', '--local-workers'],
    ],
    reducers: Number(flags.reducers ?? 0),
    planWorkers: (config) => planLocalWorkers(flags, shell.cores, config),
    workerArgs: (plan, number) => localWorkerArguments(flags.engine, plan, number),
    env,
    staysOpen,
  };
  const live = shell.live(flags.json ? missingAsEvent : undefined);
  const show = flags.json ? showJson : showText;
  try {
    return await show({ ...shell, ...live }, { ...options, notes: recipe ? [recipe.note] : [] }, flags);
  } finally {
    await Promise.all([live.stdout.flush(), live.stderr.flush()]);
  }
}

/** In a terminal, people look at the pages when the run is finished. A script waits for the end of the command. */
function staysOpenAfterwards({ stdout }: Shell, { json, quiet, keepServing, exitWhenDone }: TrainFlags): boolean {
  return keepServing === true || (exitWhenDone !== true && stdout.isTTY === true && !json && !quiet);
}

interface RunOptions extends Omit<LocalTrainingOptions, keyof Callbacks> {
  /** What is known before the run starts. */
  readonly notes?: readonly string[];
}

function tell({ onEvent }: Callbacks, { notes = [] }: RunOptions): void {
  for (const text of notes) {
    const event = { event: 'note', level: 'info', text } as const;
    onEvent(event, JSON.stringify(event));
  }
}

/** Runs and prints events. Resolves with the exit code. */
async function showJson(shell: Shell, options: RunOptions): Promise<number> {
  const callbacks = jsonOutput(shell);
  tell(callbacks, options);
  return (await trainLocally(shell, { ...options, ...callbacks })).exitCode;
}

/** Runs and shows the progress. Resolves with the exit code. */
async function showText(shell: Shell, options: RunOptions, flags: TrainFlags): Promise<number> {
  const view = new TrainView(shell, flags, options.planWorkers);
  let outcome: TrainingOutcome;
  try {
    const callbacks = view.callbacks();
    tell(callbacks, options);
    outcome = await trainLocally(shell, { ...options, ...callbacks });
  } finally {
    view.close();
  }
  view.end(outcome);
  return outcome.exitCode;
}

function missingAsEvent(lines: number): string {
  return JSON.stringify({ event: 'note', level: 'warn', text: missingLines(lines) } satisfies RunEvent);
}

type Callbacks = Pick<LocalTrainingOptions, 'onEvent' | 'onErrorLine' | 'onStopping'>;

function jsonOutput(shell: Shell): Callbacks {
  return {
    onEvent: (_event, line) => shell.stdout.write(`${line}\n`),
    onErrorLine: (source, line) => shell.stderr.write(`${source}: ${line}\n`),
    onStopping: () => {},
  };
}

/** The run as it appears on the terminal. */
class TrainView {
  readonly #shell: Shell;
  readonly #flags: TrainFlags;
  readonly #planWorkers: RunOptions['planWorkers'];
  readonly #style: Style;
  readonly #screen: Screen;
  readonly #startedAt: number;
  #progress: Progress = initialProgress;
  #stopping = false;
  readonly #losses = createTrace();
  /** The checkpoint that was printed last: the last round is saved again with its validation. */
  #saved = '';
  #listening: Extract<RunEvent, { event: 'listening' }> | undefined;
  #started: Extract<RunEvent, { event: 'started' }> | undefined;

  constructor(shell: Shell, flags: TrainFlags, planWorkers: RunOptions['planWorkers']) {
    this.#shell = shell;
    this.#flags = flags;
    this.#planWorkers = planWorkers;
    this.#style = styleFor(shell.stdout, shell.env);
    this.#startedAt = shell.now();
    this.#screen = new Screen(shell.stdout, {
      line: (width) => this.#line(width),
      quiet: flags.quiet === true,
      redraw: canRedraw(shell.stdout, shell.env),
    });
  }

  callbacks(): Callbacks {
    return {
      onEvent: (_event, line) => this.#show(safeEvent(line)),
      onErrorLine: (source, line) => this.#screen.print(`${this.#style('dim', `${source}:`)} ${printableLines(line)}`),
      onStopping: () => {
        this.#stopping = true;
        this.#screen.print('saving; press Ctrl-C again to quit at once');
        this.#screen.refresh();
      },
    };
  }

  close(): void {
    this.#screen.close();
  }

  /** Says so if a run was stopped before it began. */
  end({ finished }: TrainingOutcome): void {
    if (finished !== undefined || !this.#stopping) return;
    this.#screen.print('Stopped before training began. There is nothing to save.');
  }

  #finish(finished: Extract<RunEvent, { event: 'finished' }>): void {
    this.#screen.close();
    const ending = {
      finished,
      program: this.#shell.program,
      rounds: this.#progress.rounds,
      out: this.#listening?.out ?? '',
      elapsedMs: this.#shell.now() - this.#startedAt,
      losses: this.#losses.values,
    };
    this.#screen.print(`\n${describeEnd(ending, this.#style)}`);
  }

  #line(width: number): string {
    if (this.#started === undefined) return width === Infinity ? '' : this.#style('dim', 'starting');
    const progress = this.#stopping ? { ...this.#progress, phase: 'saving' } : this.#progress;
    return width === Infinity ? renderLogLine(progress) : renderStatus(progress, width, this.#style);
  }

  #show(event: RunEvent): void {
    this.#progress = advance(this.#progress, event);
    if (event.event === 'listening') this.#listening = event;
    if (event.event === 'started') this.#started = event;
    if (event.event === 'round') this.#losses.add(event.trainLoss);
    if (event.event === 'finished') this.#finish(event);
    if (event.event === 'error') {
      this.#screen.close();
      writeComplaint(this.#shell, event, false);
    }
    const text = this.#textOf(event);
    if (text !== undefined) this.#screen.print(text);
    // The last round always shows, even right after the previous one.
    if (event.event === 'round' && event.round >= event.rounds) this.#screen.refresh();
  }

  /** Where texts are broken. A log keeps its lines whole. */
  get #width(): number {
    return this.#shell.stdout.isTTY === true ? this.#screen.width : Infinity;
  }

  #localWorkers({ config }: Extract<RunEvent, { event: 'started' }>): string {
    return describeLocalWorkers(this.#planWorkers(config));
  }

  /** The summary names the last one. */
  #savedText(file: string): string | undefined {
    const { round, rounds } = this.#progress;
    if (file === this.#saved || round >= rounds) return undefined;
    this.#saved = file;
    return this.#style('dim', `saved ${shownPath(file)}`);
  }

  /**
   * The status line shows the workers that join, and at the end all workers leave. Other changes
   * are news.
   */
  #isNews({ change }: Extract<RunEvent, { event: 'worker' }>): boolean {
    const { round, rounds } = this.#progress;
    return change === 'left' ? !this.#stopping && round < rounds : change !== 'joined' && change !== 'ready';
  }

  /** The text to print for an event; undefined = none, or only the status line changes. */
  #textOf(event: RunEvent): string | undefined {
    const style = this.#style;
    const quiet = this.#flags.quiet === true;
    if (event.event === 'note') return quiet && event.level === 'info' ? undefined : describeNote(event, style);
    if (quiet) return undefined;
    switch (event.event) {
      case 'started':
        return this.#listening && describeStart(this.#listening, event, this.#localWorkers(event), style, this.#width);
      case 'worker':
        return this.#isNews(event) ? describeWorker(event, style) : undefined;
      case 'decision':
        return isWarnedOf(event.decision) ? undefined : style('dim', event.text);
      case 'sample':
        return frameSample(event, this.#width, style);
      case 'checkpoint':
        return event.best ? undefined : this.#savedText(event.path);
      case 'serving':
        return `\n${describeServing(event, this.#flags.keepServing !== true, style, this.#width)}`;
      default:
        return undefined;
    }
  }
}

/**
 * The event without characters that could control the terminal: names and samples come from other
 * machines.
 */
function safeEvent(line: string): RunEvent {
  return JSON.parse(line, (_key, value: unknown) => (typeof value === 'string' ? printableLines(value) : value)) as RunEvent;
}
