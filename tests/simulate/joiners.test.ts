import { describe, expect, it } from 'vitest';
import { messageIn } from './audit.js';
import { FAULTS, possibleIn } from './faults.js';
import { createSimulation, describe as text, type Simulation } from './simulation.js';
import { truthOf } from './storm.js';
import { BY_SPEED, REPRODUCIBLE } from './training.js';

const JOINERS = 10;
/** A snapshot takes seconds, as long as several updates, so most joiners wait for their turn. */
const SLOW_BYTES_PER_MS = 4;

/** Counts the snapshots that the coordinator sends, those that were encoded for them, and the pieces that workers send. */
function listenIn({ audit }: Simulation, onSources: () => void = () => undefined) {
  const encoded = new Set<number>();
  const news = { snapshots: 0, encoded: 0, pieces: 0, sources: 0 };
  const onFrame = audit.onFrame.bind(audit);
  audit.onFrame = (from, frame) => {
    if (messageIn(frame)?.type === 'snapshot') {
      news.snapshots++;
      // Frames of one encoding have the same transfer.
      news.encoded = encoded.add(new DataView(frame.buffer, frame.byteOffset).getUint32(4, true)).size;
    }
    if (messageIn(frame)?.type === 'piece') news.pieces++;
    if (messageIn(frame)?.type === 'sources') {
      news.sources++;
      onSources();
    }
    onFrame(from, frame);
  };
  return news;
}

it.each([1, 4])('ten workers join at once over slow links, while faults strike (seed %i)', async (seed) => {
  const config = { ...(seed % 2 === 0 ? REPRODUCIBLE : BY_SPEED), rounds: 50 };
  const options = { workers: [250, 160], separate: seed > 2, bytesPerMs: SLOW_BYTES_PER_MS, truth: await truthOf(config) };
  const simulation = createSimulation({ seed, config, ...options });
  const news = listenIn(simulation);
  const faults = possibleIn({ separate: options.separate, reducers: 0 }, FAULTS);
  let struck = 0;
  const strike = (): void => {
    if (simulation.coordinator.ended || struck === 8) return;
    if (simulation.random.pick(faults).strike(simulation, simulation.random) !== undefined) {
      struck++;
      simulation.touch();
    }
    simulation.clock.after(simulation.random.between(500, 4_000), 'strike', strike);
  };
  simulation.boot();
  await simulation.until('some rounds', () => simulation.commits.length === 5);
  const before = { ...news };
  for (let i = 0; i < JOINERS; i++) simulation.join(`joiner${i}`, 200);
  simulation.clock.after(1_000, 'strike', strike);
  await simulation.finish();
  const snapshots = news.snapshots - before.snapshots;
  expect(snapshots, text(simulation)).toBeGreaterThanOrEqual(JOINERS);
  expect(news.encoded - before.encoded).toBeLessThan(snapshots / 2);
});

describe.each([1, 3])('a crowd that joins workers which sum (seed %i)', (seed) => {
  async function crowd(onSources: (simulation: Simulation) => void = () => undefined) {
    const config = { ...BY_SPEED, rounds: 60 };
    const options = { workers: [250, 240, 230, 220, 210, 200], peers: true, direct: true, sharedUplinks: true, bytesPerMs: 20 };
    const simulation = createSimulation({ seed, config, ...options, truth: await truthOf(config) });
    const news = listenIn(simulation, () => onSources(simulation));
    simulation.boot();
    await simulation.until('some rounds', () => simulation.commits.length === 10);
    for (let i = 0; i < 3 * JOINERS; i++) simulation.join(`joiner${i}`, 200);
    await simulation.finish();
    return { ...news, text: text(simulation) };
  }

  it('takes the snapshot from them', async () => {
    const { sources, pieces, text: what } = await crowd();
    expect(sources, what).toBeGreaterThan(0);
    expect(pieces, what).toBeGreaterThan(0);
  });

  it('takes it from the coordinator when they die', async () => {
    const dead = new Set<string>();
    const { sources, text: what } = await crowd(({ workers }) => {
      for (const worker of workers.slice(0, 6)) {
        if (dead.has(worker.name)) continue;
        dead.add(worker.name);
        worker.crash();
      }
    });
    expect(sources, what).toBeGreaterThan(0);
  });
});
