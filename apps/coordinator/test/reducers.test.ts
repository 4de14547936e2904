/** Reducers in threads of a coordinator: a run goes on when one of them ends. */
import fs from 'node:fs/promises';
import type { Worker } from 'node:worker_threads';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { scratch, startCoordinator } from './running.js';

let out: string;
const threads: Worker[] = [];
const onThread = (thread: Worker) => void threads.push(thread);
beforeEach(async () => {
  out = await scratch();
  process.on('worker', onThread);
});
afterEach(async () => {
  process.off('worker', onThread);
  threads.length = 0;
  await fs.rm(out, { recursive: true, force: true });
});

it('a run goes on without a reducer whose thread has ended, and with it again', async () => {
  const running = await startCoordinator('--reducers=2', `--out=${out}`, '--rounds=1000000');
  const notes = () => running.events.flatMap((event) => (event.event === 'note' ? [event.text] : []));
  const [note] = notes().filter((text) => text.startsWith('2 reducers sum the gradients'));
  const [port] = /\d{4,}/.exec(note)!;
  running.join('w');
  await running.round(5);
  // The first thread validates and samples.
  expect(threads).toHaveLength(3);
  await threads[1].terminate();
  const lost = new RegExp(`the reducer at ws://127\\.0\\.0\\.1:${port} is lost`);
  await expect.poll(notes, { timeout: 20_000 }).toContainEqual(expect.stringMatching(lost));
  await running.round(running.events.filter(({ event }) => event === 'round').length + 5);
  await expect.poll(notes, { timeout: 20_000 }).toContain(`the reducer on port ${port} listens again`);
  await running.round(running.events.filter(({ event }) => event === 'round').length + 5);
  await running.stop();
  expect(threads).toHaveLength(4);
  // A thread that has ended has no id.
  expect(threads.map(({ threadId }) => threadId)).toEqual([-1, -1, -1, -1]);
});
