import { CollectiveError, type CollectiveHost } from '@troupe/collective';
import { ProtocolError } from '@troupe/protocol';
import { TransportError } from '@troupe/transport';
import { beforeEach, describe, expect, it } from 'vitest';
import type { ReduceEvent, ReduceLinkEvent } from '../src/events.js';
import { openReduceLink, type ReduceLink, type Starting } from '../src/reduce-link.js';
import { turn } from './fixture.js';

const lost = (why = 'cable pulled') => new TransportError('lost', why, 'Reconnect.');
const taken = () => new CollectiveError('taken', 'another coordinator has it', 'Stop it.');
const refused = (why: string) => new CollectiveError('refused', why, 'Ask its owner.');
const event: ReduceEvent = {
  kind: 'rejected',
  leaseId: 'l1',
  workerId: 'w',
  round: 0,
  result: 'late',
  reason: 'late',
} as unknown as ReduceEvent;

interface FakeHost extends CollectiveHost {
  readonly calls: string[];
  readonly closedFor: string[];
  happen(next: ReduceEvent | Error): void;
}

/** A service in which happens what the test says. */
function createFakeHost(): FakeHost {
  let settle: ((next: ReduceEvent | Error) => void) | undefined;
  let dead = false;
  const calls: string[] = [];
  const closedFor: string[] = [];
  const order = (text: string): void => {
    if (dead) throw lost();
    calls.push(text);
  };
  return {
    calls,
    closedFor,
    admit: (workerId) => order(`admit ${workerId}`),
    dismiss: (workerId) => order(`dismiss ${workerId}`),
    subscribe: (workerId, wanted) => order(`subscribe ${workerId} ${wanted}`),
    usePeers: ({ reducers }) => order(`use ${reducers.join()}`),
    openRound: ({ round }) => order(`open ${round}`),
    grant: ({ leaseId }) => order(`grant ${leaseId}`),
    rule: ({ leaseId }) => order(`rule ${leaseId}`),
    close: (reason) => closedFor.push(reason),
    receive: (signal) =>
      new Promise((resolve, reject) => {
        signal?.addEventListener('abort', () => reject(new TransportError('aborted', 'called off', '')), { once: true });
        settle = (next) => (next instanceof Error ? reject(next) : resolve(next));
      }),
    happen(next) {
      if (next instanceof TransportError) dead = true;
      settle!(next);
    },
  };
}

let over: AbortController;
/** What each attempt to connect comes to, in turn. */
let attempts: (FakeHost | Error)[];
let sleeps: { readonly ms: number; end(): void }[];
let heard: string[];
let link: ReduceLink;
let waits: string[];
let asked: AbortController;
let starting: Starting;
let listening: Promise<unknown>;

async function connect(): Promise<CollectiveHost> {
  const next = attempts.shift() ?? lost('nothing there');
  if (next instanceof Error) throw next;
  return next;
}

async function open(host: FakeHost): Promise<void> {
  attempts = [host];
  link = await openReduceLink(
    connect,
    over.signal,
    {
      sleep: (ms, signal) =>
        new Promise((resolve, reject) => {
          sleeps.push({ ms, end: resolve });
          signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
        }),
    },
    starting,
  );
  listening = link
    .listen((event) => {
      if ('kind' in event) heard.push(event.kind);
      else heard.push(lineOf(event));
    })
    .catch((error: unknown) => error);
}

function lineOf(event: ReduceLinkEvent): string {
  switch (event.type) {
    case 'reduceLost':
      return `lost: ${event.reason}`;
    case 'reduceRefused':
      return `refused: ${event.reason} ${event.remedy}`;
    case 'reduceRestored':
      return 'restored';
    default:
      return event satisfies never;
  }
}

/** Ends the wait for the next attempt. */
async function wake(): Promise<void> {
  sleeps.at(-1)!.end();
  await turn();
}

let host: FakeHost;

beforeEach(async () => {
  [over, sleeps, heard, host] = [new AbortController(), [], [], createFakeHost()];
  [waits, asked] = [[], new AbortController()];
  starting = { signal: asked.signal, onTaken: (reason) => waits.push(reason) };
  await open(host);
});

const grant = { round: 0, leaseId: 'l1', workerId: 'w', streams: [0] };
const order = { round: 0, learningRate: 1, clip: 0, parametersDigest: '0'.repeat(16) };

describe('the link to the all-reduce service', () => {
  it('passes on orders and events in order', async () => {
    link.admit('w', 'ticket');
    link.openRound(order);
    link.grant(grant);
    link.dismiss('w', 'gone');
    expect(host.calls).toEqual(['admit w', 'open 0', 'grant l1', 'dismiss w']);
    host.happen(event);
    await turn();
    host.happen(event);
    await turn();
    expect(heard).toEqual(['rejected', 'rejected']);
  });

  it('cannot be opened while the service is unreachable', async () => {
    attempts = [];
    await expect(openReduceLink(connect, over.signal, { sleep: async () => undefined }, starting)).rejects.toThrow(
      'nothing there',
    );
  });

  it('waits for a service that another coordinator has', async () => {
    attempts = [taken(), taken(), host];
    const slept: number[] = [];
    await openReduceLink(connect, over.signal, { sleep: async (ms) => void slept.push(ms) }, starting);
    expect(slept).toEqual([1_000, 1_000]);
    expect(waits).toEqual(['another coordinator has it']);
  });

  it('gives up when the other coordinator keeps the service for longer than a dead link lasts', async () => {
    attempts = Array.from({ length: 60 }, taken);
    let sleptMs = 0;
    const opening = openReduceLink(connect, over.signal, { sleep: async (ms) => void (sleptMs += ms) }, starting);
    await expect(opening).rejects.toMatchObject({ code: 'taken' });
    expect(sleptMs).toBeGreaterThanOrEqual(20_000);
    expect(sleptMs).toBeLessThan(30_000);
  });

  it('stops waiting for another coordinator when it is asked to', async () => {
    attempts = [taken(), taken()];
    const sleep = async (_ms: number, signal: AbortSignal): Promise<void> => {
      asked.abort(new Error('asked to stop'));
      signal.throwIfAborted();
    };
    await expect(openReduceLink(connect, over.signal, { sleep }, starting)).rejects.toThrow('asked to stop');
  });

  it('ends without an event when the run is over', async () => {
    over.abort(new Error('the run is over'));
    expect(await listening).toBeUndefined();
    expect(heard).toEqual([]);
  });
});

describe('a lost service', () => {
  it('is dialled at once and then every second; orders in between are dropped', async () => {
    const next = createFakeHost();
    attempts = [lost(), lost(), next];
    host.happen(lost());
    await turn();
    expect(heard).toEqual(['lost: cable pulled']);
    expect(host.closedFor).toEqual(['cable pulled']);
    link.openRound(order);
    link.grant(grant);
    link.dismiss('w', 'gone');
    await wake();
    expect(sleeps.map(({ ms }) => ms)).toEqual([1_000, 1_000]);
    await wake();
    expect(heard).toEqual(['lost: cable pulled', 'restored']);
    expect([host.calls, next.calls]).toEqual([[], []]);
    link.grant(grant);
    next.happen(event);
    await turn();
    expect([next.calls, heard.at(-1)]).toEqual([['grant l1'], 'rejected']);
  });

  it('admits no worker: its session fails, and it tries again', async () => {
    host.happen(lost());
    await turn();
    expect(() => link.admit('w', 'ticket')).toThrow(TransportError);
  });

  it('is reported once for each reason for which it refuses', async () => {
    attempts = [taken(), taken(), refused('another run'), refused('another run')];
    host.happen(lost());
    await turn();
    for (let i = 0; i < 3; i++) await wake();
    expect(heard.slice(1)).toEqual(['refused: another coordinator has it Stop it.', 'refused: another run Ask its owner.']);
  });

  it('is given up when the run is over', async () => {
    host.happen(lost());
    await turn();
    over.abort(new Error('the run is over'));
    expect(await listening).toBeUndefined();
    expect(heard).toEqual(['lost: cable pulled']);
  });

  it('is left when it answers after the run is over', async () => {
    const late = createFakeHost();
    let answer = (): void => undefined;
    const waits = new Promise<void>((resolve) => (answer = resolve));
    attempts = [host];
    const again = await openReduceLink(
      async () => {
        if (attempts.length > 0) return connect();
        await waits;
        return late;
      },
      over.signal,
      { sleep: async () => undefined },
      starting,
    );
    const ended = again.listen((event) => {
      if ('type' in event && event.type === 'reduceRestored') heard.push('restored');
    });
    host.happen(lost());
    await turn();
    over.abort(new Error('the run is over'));
    answer();
    await ended;
    expect([late.closedFor, heard]).toEqual([['the run is over'], []]);
  });
});

describe('data from the service', () => {
  it.each([new ProtocolError('invalid_message', 'garbage', ''), refused('unknown ticket')])(
    'that is unreadable causes a reconnect: %s',
    async (error) => {
      attempts = [createFakeHost()];
      host.happen(error);
      await turn();
      expect(heard).toEqual([`lost: ${error.message}`, 'restored']);
    },
  );

  it('with an update that must not be applied ends the run', async () => {
    const fatal = new CollectiveError('not_finite', 'it holds a NaN', 'Lower the learning rate.');
    host.happen(fatal);
    expect(await listening).toBe(fatal);
    expect(heard).toEqual([]);
  });
});
