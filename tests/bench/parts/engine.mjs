/** How fast the engines compute gradients, alone and with the optimizer's step. */
import { ALL_SIZES, describeSize, flops } from '../configs.mjs';
import { race } from '../contestant.mjs';
import { count, decimal, ms } from '../report.mjs';

export const title = 'CPU engines';
export const about =
  'One process on one core, without network: the forward and backward pass of one window (truncated back-propagation), and ' +
  'the same followed by an Adam step on the mean gradient. GFLOP/s counts the multiplications and additions of the matrix ' +
  'products, 6 B T (4 H² (2L - 1) + H V), with the one-hot input as a table look-up; V = 65.';

/**
 * @param {string} engine
 * @param {import('../configs.mjs').Size} size
 * @param {{ trains?: boolean, threads?: number, variant?: string }} [options] `threads`: engine threads; 0 = compute in the main thread
 * @returns {import('../contestant.mjs').Entry}
 */
export function troupe(engine, size, { trains = false, threads = 0, variant } = {}) {
  const script = new URL('../contestants/troupe.mjs', import.meta.url).pathname;
  const flags = [
    ...(variant === undefined ? [] : [`--variant=${variant}`]),
    ...(threads === 0 ? [] : [`--threads=${threads}`]),
    ...(trains ? ['--optimize'] : []),
  ];
  const details = [
    variant,
    threads > 0 ? `${threads} ${threads === 1 ? 'thread' : 'threads'}` : undefined,
    trains ? 'with Adam' : undefined,
  ];
  const name = ['Troupe ' + engine, ...details.filter((detail) => detail !== undefined)].join(', ');
  return { name, command: [process.execPath, script, engine, ...flags], size, trains };
}

/** The requested engines that this machine has. */
export async function enginesHere(/** @type {readonly import('@troupe/engines').EngineName[]} */ wanted) {
  const { probeEngines } = await import('@troupe/engines/node');
  const reports = await probeEngines({ nowMs: () => performance.now(), engines: wanted });
  return {
    present: reports.filter(({ present }) => present).map(({ name }) => name),
    notes: reports.flatMap((report) =>
      report.present ? [] : [`${report.name} is not available: ${report.why}. ${report.remedy}`],
    ),
  };
}

/** @param {import('../report.mjs').Options} options */
export async function measure({ quick, progress }) {
  const rows = [];
  const data = [];
  const { present, notes } = await enginesHere(['wasm', 'native']);
  for (const size of quick ? ALL_SIZES.slice(0, 2) : ALL_SIZES) {
    progress(describeSize(size));
    const entries = present.flatMap((engine) => [troupe(engine, size), troupe(engine, size, { trains: true })]);
    const { scores } = await race(entries, { quick, repetitions: quick ? 2 : 5 });
    for (let i = 0; i < scores.length; i += 2) {
      const [gradient, step] = scores.slice(i, i + 2);
      const gflops = flops(size) / gradient.stepMs / 1e6;
      rows.push([
        describeSize(size),
        gradient.detail,
        count(gradient.charsPerSecond),
        ms(gradient.stepMs),
        decimal(gflops, 1),
        count(step.charsPerSecond),
      ]);
      data.push({ ...size, engine: gradient.detail, gflops, gradient, step });
    }
  }
  return {
    tables: [{ head: ['Model', 'Engine', 'Gradient, chars/s', 'ms', 'GFLOP/s', 'With Adam, chars/s'], rows }],
    goals: [],
    notes,
    data,
  };
}
