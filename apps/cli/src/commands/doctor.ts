/** `troupe doctor`: lists and measures the engines of this machine, or checks the way to a coordinator. */
import os from 'node:os';
import { Option, type Command } from 'commander';
import { installationAt } from '@troupe/config/installation';
import { ENGINE_NAMES, ENGINES, type EngineName } from '@troupe/engines';
import type { EngineReport } from '@troupe/engines/node';
import { masksNatively } from '@troupe/transport/websocket';
import { CliError } from '../errors.js';
import type { Shell } from '../shell.js';
import { compactCount, styleFor, type Style } from '../terminal/style.js';
import { doctorNetwork } from './doctor-network.js';
import { afterwards, engineName, examples } from './flags.js';
import { environmentWithSecrets } from './secrets.js';

/** The measured model: L layers of H units, B streams, V characters. */
const STANDARD = { layers: 2, hidden: 256, streams: 16, vocabulary: 65 } as const;

interface DoctorFlags {
  readonly engine?: readonly EngineName[];
  readonly network?: string;
  readonly token?: string;
  readonly json?: true;
}

type Present = EngineReport & { readonly present: true };

export function defineDoctor(program: Command, shell: Shell, ended: (exitCode: number) => void): void {
  program
    .command('doctor')
    .summary('list the engines of this machine and their speeds, or check its way to a coordinator')
    .description(
      `Looks for every engine and measures for about a second how fast it computes gradients of a ${STANDARD.layers}x${STANDARD.hidden} LSTM ` +
        `with ${STANDARD.streams} streams on one core or one GPU. Says how to install missing engines. The exit code is 0 if at least one ` +
        'engine runs; software-emulated GPUs do not count.\n\n' +
        'With --network, checks instead step by step whether a worker on this machine could join a run, and whether it could exchange ' +
        'gradients with other workers directly. It does not join. The exit code is 1 if a worker could not join.',
    )
    .addOption(
      new Option('--engine <NAME>', `check only this engine; may be repeated (default: all): ${ENGINE_NAMES.join(', ')}`)
        .argParser((text, before: readonly EngineName[] = []) => [...before, engineName(text)])
        .helpGroup('Engine:'),
    )
    .addOption(
      new Option(
        '--network <ADDRESS>',
        'check the way to the coordinator at this address: ws://HOST:PORT, wss://HOST:PORT, or its link for volunteers',
      ).helpGroup('Network:'),
    )
    .addOption(
      new Option('--token <TOKEN>', 'the token of the run (default: that of the link, or TROUPE_TOKEN)').helpGroup('Network:'),
    )
    .addOption(new Option('--json', 'print the result as one JSON object at the end').helpGroup('Output:'))
    .addHelpText(
      'after',
      examples(
        [`${shell.program} doctor`, 'check all engines'],
        [`${shell.program} doctor --engine webgpu`, 'check for a GPU'],
        [`${shell.program} doctor --json`, 'print the result as JSON'],
        [`TROUPE_TOKEN=TOKEN ${shell.program} doctor --network ws://HOST:7070`, 'check the way to the coordinator on HOST'],
      ) +
        afterwards(
          `${shell.program} train --engine NAME   train with one of them`,
          `${shell.program} bench --engine NAME   measure other sizes`,
        ),
    )
    .action(async (flags: DoctorFlags, command: Command) => {
      environmentWithSecrets(shell, command);
      ended(await choose(shell, flags));
    });
}

async function choose(shell: Shell, flags: DoctorFlags): Promise<number> {
  const { network, token, engine } = flags;
  if (network === undefined && token === undefined) return doctor(shell, flags);
  if (network === undefined)
    throw new CliError('usage', '--token is for --network.', 'Add --network ADDRESS, or leave --token out.');
  if (engine === undefined) return doctorNetwork(shell, { ...flags, network });
  throw new CliError('usage', '--network checks no engines.', 'Leave out --engine, or --network.');
}

async function doctor(shell: Shell, flags: DoctorFlags): Promise<number> {
  const style = styleFor(shell.stdout, shell.env);
  const machine = describeMachine();
  if (!flags.json) shell.stdout.write(`${header(machine, style)}\n\n`);
  const { probeEngines } = await import('../engine.js');
  const { streams, ...model } = STANDARD;
  const reports: EngineReport[] = [];
  // One at a time: each result shows at once, and if an engine crashes the process, the missing
  // line tells which.
  for (const name of flags.engine ?? ENGINE_NAMES) {
    const [report] = await probeEngines({ nowMs: shell.now, config: { cell: 'lstm', ...model }, streams, engines: [name] });
    reports.push(report);
    if (!flags.json) shell.stdout.write(line(report, style));
  }
  if (flags.json) shell.stdout.write(`${JSON.stringify({ ...machine, model: STANDARD, engines: reports })}\n`);
  else shell.stdout.write(`\n${advice(shell.program, reports, style)}`);
  return reports.some((report) => report.present && !report.software) ? 0 : 1;
}

function describeMachine() {
  return {
    cpu: os.cpus()[0]?.model ?? 'unknown',
    cores: os.availableParallelism(),
    memoryBytes: os.totalmem(),
    freeMemoryBytes: os.freemem(),
    platform: `${process.platform} ${process.arch}`,
    node: process.versions.node,
    nodeFlags: process.execArgv,
    nativeMasking: masksNatively(),
  };
}

function header(machine: ReturnType<typeof describeMachine>, style: Style): string {
  const { cpu, cores, memoryBytes, freeMemoryBytes, platform, node, nodeFlags, nativeMasking } = machine;
  const gib = (bytes: number): string => (bytes / 2 ** 30).toFixed(1);
  const field = (label: string, text: string) => `  ${style('dim', label.padEnd(12))}${text}`;
  return [
    field('processor', `${cpu}, ${cores} cores`),
    field('memory', `${gib(memoryBytes)} GiB, ${gib(freeMemoryBytes)} GiB free`),
    field('Node', [node, platform, ...nodeFlags].join(' ')),
    field(
      'WebSocket',
      nativeMasking ? 'frames are masked in native code' : `frames are masked in JavaScript, slowly${MEND_MASKING}`,
    ),
    field(
      'measured',
      `gradients of a ${STANDARD.layers}x${STANDARD.hidden} LSTM with ${STANDARD.streams} streams, on one core or one GPU`,
    ),
  ].join('\n');
}

/** The package has bufferutil inside, so where that does not load there is nothing to type. */
const MEND_MASKING = installationAt(import.meta.url).kind === 'clone' ? ': npm rebuild bufferutil' : '';

const NAME_WIDTH = Math.max(...ENGINE_NAMES.map((name) => name.length)) + 2;

function line(report: EngineReport, style: Style): string {
  const name = report.name.padEnd(NAME_WIDTH);
  if (!report.present) {
    const indent = ' '.repeat(NAME_WIDTH + 2);
    return `${style('dim', `- ${name}${ENGINES[report.name]}`)}\n${indent}${report.why}\n${indent}${style('yellow', 'to get it:')} ${report.remedy}\n`;
  }
  return `${style('green', '+')} ${style('bold', name)}${speed(report).padStart(8)}  ${report.device}; ${abilities(report)}\n`;
}

function speed({ charsPerSecond }: Present): string {
  return charsPerSecond === undefined ? '' : `${compactCount(charsPerSecond)}/s`;
}

function abilities({ variant, features, software }: Present): string {
  if (software) return 'emulated in software: correct, but slow, and not measured';
  const others = features.filter((feature) => variant?.split(' ')[0] !== feature);
  return [variant, others.length > 0 ? `(has ${others.join(', ')})` : ''].filter((text) => text).join(' ');
}

function advice(program: string, reports: readonly EngineReport[], style: Style): string {
  const measured = reports.filter((report): report is Present => report.present && report.charsPerSecond !== undefined);
  const [best] = measured.sort((a, b) => b.charsPerSecond! - a.charsPerSecond!);
  if (!best && reports.some(({ present }) => present))
    return 'Only a software-emulated GPU was found. It is useful for tests only.\n';
  if (!best) return `${style('red', 'None of these engines runs on this machine.')} See above how to install them.\n`;
  return `${style('bold', best.name)} is the fastest here: ${program} train --engine ${best.name}\n`;
}
