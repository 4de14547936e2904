import { createChannel, PROTOCOL_VERSION } from '@troupe/protocol';
import { createMemoryPair, type MemoryConnection } from '@troupe/transport/memory';
import { expect, it } from 'vitest';
import { createRangeLayout } from '../src/index.js';
import { ReducerLinks } from '../src/star/reducer-links.js';
import { aMoment, TENSORS } from './network.js';

/** How often a worker opens a link that is lost again and again. @param isSteady whether each lasts a minute */
async function linksOpened(isSteady: boolean, losses: number): Promise<number> {
  let opened = 0;
  let last: MemoryConnection | undefined;
  const introduction = { reducer: 'w9', addresses: ['of w9'], ticket: 't' };
  // Pauses take no time.
  const deadline = (ms: number): AbortSignal => {
    const isOver = ms === 60_000 ? isSteady : ms !== 5_000;
    return isOver ? AbortSignal.abort() : new AbortController().signal;
  };
  const links: ReducerLinks = new ReducerLinks({
    join: { runId: 'r', workerId: 'w', deadline },
    layout: createRangeLayout(TENSORS),
    reach: {
      reaches: () => true,
      connect: async () => {
        const [near, far] = createMemoryPair();
        const channel = createChannel(far, { accepts: ['join'], bodyBytes: () => 0 });
        channel.send({ type: 'joined', version: PROTOCOL_VERSION, round: 0, ranges: [] });
        last = far;
        return near;
      },
    },
    openSignalling: () => expect.unreachable(),
    onOpened: () => opened++,
    onLost: () => undefined,
    onWanted: () => links.connect(introduction),
    onFailed: (error) => expect.unreachable(String(error)),
  });
  links.connect(introduction);
  for (let i = 0; i < losses; i++) {
    await aMoment();
    last?.breakLink('cable');
  }
  links.close('the test is over');
  return opened;
}

it('a link that was good for a minute is opened again however often it is lost, and one that never is only for a while', async () => {
  expect(await linksOpened(true, 20)).toBe(20);
  expect(await linksOpened(false, 20)).toBe(9);
});
