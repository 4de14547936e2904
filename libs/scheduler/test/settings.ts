import type { RunSettings } from '../src/index.js';

/** Eight streams, and nothing that a round has to wait for. */
export const SETTINGS: RunSettings = {
  streams: 8,
  window: 10,
  rounds: 10_000,
  windowsPerPass: 4,
  evaluateEvery: 0,
  checkpointEvery: 0,
  sampleEvery: 0,
  chanceLoss: 4,
  maxLoss: 3,
  leaseStreams: 0,
};
