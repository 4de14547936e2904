/** The largest configuration that a run may have. Part of the protocol's LIMITS. */
export const CONFIG_LIMITS = {
  /** B, streams. */
  streams: 32_768,
  /** T, time steps. */
  window: 8_192,
  layers: 16,
  hidden: 16_384,
  embedding: 16_384,
  forgetBias: 100,
  /** V; ids travel as uint16. */
  vocabulary: 65_536,
  rounds: 100_000_000,
  learningRate: 1000,
  clip: 1e9,
} as const;
