import { describe, expect, it } from 'vitest';
import { eventsFor, withoutPrivateData, workersFor } from '../../src/web/redact.js';

describe('a text for viewers without the admin token', () => {
  it.each([
    ['far joined: from 127.0.0.1:50818', 'far joined: from (address hidden)'],
    ['127.0.0.1:50818 refused: wrong token', '(address hidden) refused: wrong token'],
    ['from [2001:db8::7]', 'from (address hidden)'],
    ['a link failed: [::1]:7070 does not read.', 'a link failed: (address hidden) does not read.'],
    ['from fe80::1%eth0, or ::ffff:10.0.0.1', 'from (address hidden), or (address hidden)'],
    ['the last was 203.0.113.7.', 'the last was (address hidden).'],
    ['node10.0.0.1 and gpu_10.0.0.2:7070 joined', 'node(address hidden) and gpu_(address hidden) joined'],
    ['host2001:db8::7 left', 'host(address hidden) left'],
  ])('has no address: %s', (text, shown) => expect(withoutPrivateData(text)).toBe(shown));

  it.each([
    ['ENOSPC: write /home/ann/runs/001/history.jsonl', 'ENOSPC: write history.jsonl'],
    ["open '/home/ann/my runs/a.safetensors' failed", 'open a.safetensors failed'],
    ['see C:\\Users\\Ann\\runs\\001.', 'see 001.'],
    ['the folder ~/runs/002 is full', 'the folder 002 is full'],
    ['the folder /home/ann/ is full', 'the folder ann is full'],
    ['imported from file:///home/ann/a.mjs', 'imported from a.mjs'],
    ['imported from file://lab/home/ann/a.mjs:12:3', 'imported from a.mjs:12:3'],
    ["cannot open 'file:///home/ann/my runs/a.mjs'", 'cannot open a.mjs'],
    ['x:/home/ann is full', 'ann is full'],
    ['lab:/home/ann/runs is full', 'lab:runs is full'],
    ['open:/home/ann/runs', 'open:runs'],
    ['C:/Users/Ann/runs is full', 'runs is full'],
    ['a share \\\\lab\\ann\\runs is full', 'a share runs is full'],
    ['~ann/runs is full', 'runs is full'],
    ['//home/ann is full', 'ann is full'],
  ])('has no folder: %s', (text, shown) => expect(withoutPrivateData(text)).toBe(shown));

  it.each([
    'late: a, b; 4 streams lent to 1 worker',
    'gpu-1.2 joined at 12:34:56, round 1:2',
    'learning rate 0.002, clip 0.125; 1.5.2 of wasm',
    'ratio 3/4, runs/001, see deploy/README.md or https://example.org/a/b',
    'Tom::Jerry, std::vector and e.g. a.b.c.d',
    'v1.2.3 of wss://example.org:7070/a and round12:34:56; 3:4, ratio:3/4',
    'rtx4090 at 1.2.3.4.5',
  ])('is unchanged otherwise: %s', (text) => expect(withoutPrivateData(text)).toBe(text));
});

it('admins see addresses in events and workers, others do not', () => {
  const event = {
    id: 1,
    at: 0,
    round: 0,
    kind: 'worker',
    level: 'info',
    text: 'far joined: from 10.0.0.1',
    remedy: 'Ask 10.0.0.1.',
  };
  const worker = { id: 'w', name: '10.0.0.1:1234', reason: '10.0.0.1:1234 closed the link' };
  const [events, workers] = [[event], [worker]] as unknown as [Parameters<typeof eventsFor>[1], Parameters<typeof workersFor>[1]];
  expect([eventsFor(['read', 'admin'], events), workersFor(['read', 'admin'], workers)]).toEqual([events, workers]);
  expect(eventsFor(['read'], events)).toMatchObject([
    { id: 1, text: 'far joined: from (address hidden)', remedy: 'Ask (address hidden).' },
  ]);
  expect(workersFor(['read'], workers)).toEqual([
    { id: 'w', name: '(address hidden)', reason: '(address hidden) closed the link' },
  ]);
});
