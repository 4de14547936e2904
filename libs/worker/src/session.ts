/** One session of a worker: it joins, then computes leases until the coordinator stops it or a link breaks. */
import type { Connection } from '@troupe/transport';
import { createDeadlines } from './deadlines.js';
import type { Credit } from './executor.js';
import { joinCollective, joinRun, type Deadline } from './join.js';
import { openEngineSlot } from './measure.js';
import type { WorkerOptions } from './ports.js';
import { runLoop } from './run-loop.js';
import type { StopNotice } from './sync.js';

/** @returns why the coordinator stopped it; undefined: the worker left. @throws what broke the session */
export async function runSession(options: WorkerOptions, credit: Credit): Promise<StopNotice | undefined> {
  const { signal, ports } = options;
  signal.throwIfAborted();
  const link = await ports.connect(options.address, signal);
  const session = new AbortController();
  const stop = (): void => session.abort(signal.reason);
  signal.addEventListener('abort', stop, { once: true });
  try {
    return await work(link, options, credit, createDeadlines(ports, session.signal));
  } finally {
    link.close(signal.aborted ? 'the worker was asked to stop' : 'the session is over');
    signal.removeEventListener('abort', stop);
    session.abort(new Error('the session is over'));
  }
}

async function work(
  link: Connection,
  options: WorkerOptions,
  credit: Credit,
  deadline: Deadline,
): Promise<StopNotice | undefined> {
  const { ports, signal, leave } = options;
  const membership = await joinRun(link, options, deadline);
  const { welcome, layout, replica } = membership;
  ports.log({ kind: 'welcome', runId: welcome.runId, workerId: welcome.workerId, parameters: layout.size });
  const slot = await openEngineSlot(welcome.config, replica.parameters, options);
  try {
    const member = await joinCollective(membership, options, deadline);
    try {
      return await runLoop({ ...membership, member, slot, credit, ports, deadline, signal, leave });
    } finally {
      member.close('the session is over');
    }
  } finally {
    slot.dispose();
  }
}
