/** `troupe allreduce`: the star service on a port of its own. */
import { setMaxListeners } from 'node:events';
import { runAllreduce } from './app.js';

// Every link waits for the same end of the run: that many listeners are no leak.
setMaxListeners(0);

const stop = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort(new Error(signal)));
// When the process that started this one dies, however suddenly, the channel to it closes.
process.once('disconnect', () => stop.abort(new Error('the process that started this one is gone')));

const output = {
  out: (line: string) => void process.stdout.write(`${line}\n`),
  err: (line: string) => void process.stderr.write(`${line}\n`),
};
try {
  process.exitCode = await runAllreduce(process.argv.slice(2), process.env, output, stop.signal);
} finally {
  if (process.connected) process.disconnect();
}
