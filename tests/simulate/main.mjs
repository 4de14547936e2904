/**
 * npm run simulate -- [--seed S] [--storms N] [--rounds N] [--reproducible | --by-speed]
 * [--separate | --embedded] [--reducers N | --peers] [--faults TEXT] [--trace]
 *
 * Runs a whole cluster in one process and in simulated time through storms of faults, with the
 * seeds S, S+1 .. S+N-1. Each seed runs in both modes, and with the all-reduce embedded and
 * separate, unless flags select one; the seeds take turns with 0, 1, 2 and 4 reducers, and with workers that sum (--peers). The first line of a failure says what went wrong, the last one
 * how to replay it.
 * --faults takes the faults whose names contain the text, such as "reducer", instead of a choice by the seed.
 */
import { parseArgs } from 'node:util';
import { createViteServer } from 'vitest/node';

const flag = { type: 'boolean', default: false };
const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    storms: { type: 'string', default: '1' },
    rounds: { type: 'string', default: '60' },
    reproducible: flag,
    'by-speed': flag,
    separate: flag,
    embedded: flag,
    reducers: { type: 'string' },
    peers: flag,
    faults: { type: 'string' },
    trace: flag,
  },
});

const either = (yes, no) => (yes === no ? [false, true] : [yes]);
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
  const { soak } = await server.ssrLoadModule('/tests/simulate/soak.ts');
  const failed = await soak({
    first: Number(values.seed),
    storms: Number(values.storms),
    rounds: Number(values.rounds),
    modes: either(values.reproducible, values['by-speed']),
    places: either(values.separate, values.embedded),
    reducers: values.peers ? ['peers'] : values.reducers === undefined ? [0, 1, 2, 4, 'peers'] : [Number(values.reducers)],
    only: values.faults,
    print: (line) => console.log(line),
    trace: values.trace,
  });
  process.exitCode = failed === 0 ? 0 : 1;
} finally {
  await server.close();
}
