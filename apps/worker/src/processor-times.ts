import os from 'node:os';
import type { ProcessorTimes } from './idleness.js';

export function processorTimes(): ProcessorTimes {
  let [busyMs, totalMs] = [0, 0];
  for (const { times } of os.cpus()) {
    const busy = times.user + times.nice + times.sys + times.irq;
    busyMs += busy;
    totalMs += busy + times.idle;
  }
  const { user, system } = process.cpuUsage();
  return { busyMs, totalMs, ownMs: (user + system) / 1000 };
}
