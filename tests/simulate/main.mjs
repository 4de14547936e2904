/**
 * npm run simulate -- [--seed S] [--storms N] [--rounds N] [--reproducible | --by-speed]
 * [--separate | --embedded] [--reducers N | --peers] [--faults TEXT] [--trace]
 *
 * Runs a whole cluster in one process and in simulated time through storms of faults, with the
 * seeds S, S+1 .. S+N-1. Each seed runs in both modes, and with the all-reduce embedded and
 * separate, unless flags select one; the seeds take turns with 0, 1, 2 and 4 reducers, and with workers that sum (--peers). The first line of a failure says what went wrong, the last one
 * how to replay it.
 * --liars plays runs with hostile volunteers instead, with the seeds S .. S+N-1 (default: 10 of them), and prints a table.
 * --honest has volunteers with different engines compute 100,000 leases, and says whether anybody was banned.
 * --links says what thin links leave of workers in exact and in local rounds; --plan changes the setting (upMbit=10,hidden=256), and
 * --json prints an object a line. A localSteps in the plan plays rounds of that kind alone.
 * --faults takes the faults whose names contain the text, such as "reducer", instead of a choice by the seed.
 */
import { parseArgs } from 'node:util';
import { createViteServer } from 'vitest/node';

const flag = { type: /** @type {const} */ ('boolean'), default: false };
const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    storms: { type: 'string' },
    rounds: { type: 'string', default: '60' },
    reproducible: flag,
    'by-speed': flag,
    separate: flag,
    embedded: flag,
    reducers: { type: 'string' },
    peers: flag,
    faults: { type: 'string' },
    trace: flag,
    liars: flag,
    honest: flag,
    links: flag,
    plan: { type: 'string', default: '' },
    json: flag,
  },
});

const either = (/** @type {boolean} */ yes, /** @type {boolean} */ no) => (yes === no ? [false, true] : [yes]);
// Loads TypeScript sources, as the tests do.
const conditions = ['@troupe/source'];
const server = await createViteServer({
  root: new URL('../..', import.meta.url).pathname,
  configFile: false,
  logLevel: 'error',
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  server: { middlewareMode: true, hmr: false, watch: null, ws: false },
  optimizeDeps: { noDiscovery: true },
});
try {
  process.exitCode = (await play()) === 0 ? 0 : 1;
} finally {
  await server.close();
}

async function play() {
  const print = (/** @type {string} */ line) => console.log(line);
  const first = Number(values.seed);
  if (values.liars) {
    const { playLiars } = await server.ssrLoadModule('/tests/simulate/liars.ts');
    return playLiars({ first, seeds: Number(values.storms ?? 10), print });
  }
  if (values.honest) {
    const { playHonest } = await server.ssrLoadModule('/tests/simulate/honest.ts');
    return playHonest({ seed: first, leases: 100_000, print });
  }
  if (values.links) {
    const { playLinks, readPlan } = await server.ssrLoadModule('/tests/simulate/links.ts');
    return playLinks({ plan: readPlan(values.plan), json: values.json, print });
  }
  const { soak } = await server.ssrLoadModule('/tests/simulate/soak.ts');
  return soak({
    first,
    storms: Number(values.storms ?? 1),
    rounds: Number(values.rounds),
    modes: either(values.reproducible, values['by-speed']),
    places: either(values.separate, values.embedded),
    reducers: values.peers ? ['peers'] : values.reducers === undefined ? [0, 1, 2, 4, 'peers'] : [Number(values.reducers)],
    only: values.faults,
    print,
    trace: values.trace,
  });
}
