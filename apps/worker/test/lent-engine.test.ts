import { createLayout, initialParameters, stateSize, type ModelConfig } from '@troupe/model';
import { createReferenceEngine } from '@troupe/model/reference';
import { expect, it } from 'vitest';
import { openLentEngine } from '../src/lent-engine.js';

const MODEL: ModelConfig = { cell: 'lstm', layers: 1, hidden: 4, vocabulary: 5 };

it.each([
  ['native', 'native', 1, 8, false, 8, 0],
  ['native', 'native', 0.5, 8, false, 4, 0],
  ['native', 'native', 0.3, 1, false, 1, 233],
  ['auto', 'native', 0.5, 8, false, 4, 0],
  // A GPU has no fewer threads to use.
  ['auto', 'webgpu', 0.5, 8, false, 4, 100],
  ['webgpu', 'webgpu', 0.25, 1, false, 1, 300],
  ['tfjs', 'tfjs', 0.5, 1, false, 1, 100],
  ['wasm', 'wasm', 0.5, 8, true, 1, 100],
] as const)(
  '%s (opened: %s) with a share of %d of %i threads, reproducible: %j, has %i threads and rests %i ms of 100',
  async (...of) => {
    const [choice, name, share, threads, reproducible, opened, rest] = of;
    let nowMs = 0;
    const counts: number[] = [];
    const rests: number[] = [];
    const open = async (count: number) => {
      counts.push(count);
      const inner = createReferenceEngine(MODEL, { maxStreams: 1, maxWindow: 2 });
      return Object.assign(Object.create(inner) as typeof inner, {
        info: { ...inner.info, name },
        setParameters: (parameters: Float32Array) => inner.setParameters(parameters),
        gradient(batch: Parameters<typeof inner.gradient>[0]) {
          nowMs += 100;
          return inner.gradient(batch);
        },
      });
    };
    const engine = await openLentEngine({
      ...{ choice: choice, share, threads, reproducible, open },
      nowMs: () => nowMs,
      async sleep(ms) {
        rests.push(Math.round(ms));
        nowMs += ms;
      },
      signal: new AbortController().signal,
    });
    engine.setParameters(initialParameters(MODEL, createLayout(MODEL), 1));
    const batch = { streams: 1, window: 2, tokens: Uint16Array.from([0, 1, 2]), states: new Float32Array(stateSize(MODEL)) };
    await engine.gradient(batch);
    await engine.gradient(batch);
    expect([counts, rests]).toEqual([[opened], rest === 0 ? [] : [rest]]);
  },
);
