/** `troupe allreduce`: the star service in its own process. */
import { setMaxListeners } from 'node:events';
import { runAllreduce } from './app.js';

// Every link listens to the same signal: many listeners are not a leak.
setMaxListeners(0);

const stop = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort(new Error(signal)));
// When the process that started this one dies, the channel to it closes.
process.once('disconnect', () => stop.abort(new Error('the process that started this one ended')));

const output = {
  out: (line: string) => void process.stdout.write(`${line}\n`),
  err: (line: string) => void process.stderr.write(`${line}\n`),
};
try {
  process.exitCode = await runAllreduce(process.argv.slice(2), process.env, output, stop.signal);
} finally {
  if (process.connected) process.disconnect();
}
